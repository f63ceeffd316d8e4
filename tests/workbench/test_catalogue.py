"""The catalogue: what it holds is true of the code, and what is wrong with an entry is said in one line."""

import re

import pytest

from frechet.workbench import catalogue
from frechet.workbench.claims import claims
from frechet.workbench.errors import UserError

GOOD = """
[sns]
name = "Sinkhorn-Newton-Sparse"
paper = "Accelerating Sinkhorn"
authors = ["Ada Lovelace", "Jean van der Berg"]
year = 2024
arxiv = "2401.12253"
family = "transport"
implements = ["frechet.solve"]
summary = "Fast."
assumptions = []
"""


@pytest.fixture
def written(tmp_path):
    """Reads a catalogue with this text."""

    def read(text: str):
        path = tmp_path / "systems.toml"
        path.write_text(text)
        return catalogue.read(path)

    return read


class TestOurs:
    @pytest.mark.parametrize("id", catalogue.systems())
    def test_the_code_it_names_is_there(self, id):
        system = catalogue.system(id)
        assert set(system.code()) == set(system.implements)

    @pytest.mark.parametrize("id", catalogue.systems())
    def test_it_claims_something_fast(self, id):
        assert claims(id, slow=False)

    def test_no_paper_is_there_twice(self):
        papers = [s.arxiv or s.doi for s in catalogue.systems().values()]
        assert len(papers) == len(set(papers))


class TestReader:
    def test_a_good_entry(self, written):
        system = written(GOOD)["sns"]
        assert system.authors == ("Ada Lovelace", "Jean van der Berg")
        assert system.address == "https://arxiv.org/abs/2401.12253"
        assert system.citation == "Ada Lovelace and Jean van der Berg (2024), Accelerating Sinkhorn"
        assert next(iter(system.code())) == "frechet.solve"

    def test_bibtex(self, written):
        text = GOOD.replace('arxiv = "2401.12253"', 'doi = "10.1137/080716542"\nentry = "article"')
        cited = written(text + 'bibtex = { journal = "Annals" }\n')["sns"].cite()
        assert cited.startswith("@article{lovelace2024accelerating,\n")
        assert cited.count("{") == cited.count("}")
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", cited, re.M))
        assert fields == {
            "title": "{Accelerating Sinkhorn}",
            "author": "Ada Lovelace and Jean van der Berg",
            "year": "2024",
            "journal": "Annals",
            "doi": "10.1137/080716542",
        }

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("year = 2024\n", "", "lacks 'year'"),
            ("year = 2024", 'year = "2024"', "year is '2024'; it should be a year such as 2022"),
            ("year = 2024", "year = 24", "year is 24"),
            ("year = 2024", "year = true", "year is True"),
            ('arxiv = "2401.12253"\n', "", "lacks an arxiv or doi"),
            ('"2401.12253"', '"arXiv:2401.12253"', "an arXiv identifier such as"),
            ('arxiv = "2401.12253"', 'doi = "1137/08"', "a DOI such as"),
            ('["Ada Lovelace", "Jean van der Berg"]', '"Ada"', "a list of texts"),
            ('["Ada Lovelace", "Jean van der Berg"]', "[]", "a list of texts"),
            ('["frechet.solve"]', '["frechet solve"]', "dotted names"),
            ('summary = "Fast."', 'summary = " "', "a text"),
            ("family", "famly", "did you mean family?"),
            ("[sns]", "[SNS]", "lower case"),
            ("[sns]", "sns = 1\n[other]", "is a [table]"),
            ("year = 2024", "year = = 2024", "is not TOML"),
            ("[sns]", 'entry = "paper"\n[sns]', "outside a table"),
            ('"Fast."', '"Fast."\nentry = "paper"', "a BibTeX entry type"),
            ('"Fast."', '"Fast."\nbibtex = { volume = 3 }', "a table of texts"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, written, old, new, said):
        text = GOOD.replace(old, new, 1)
        assert text != GOOD
        with pytest.raises(UserError) as wrong:
            written(text)
        message = str(wrong.value)
        assert said in message
        assert "systems.toml" in message
        assert "\n" not in message

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match="No such file"):
            catalogue.read(tmp_path / "absent.toml")

    def test_code_that_is_not_there(self, written):
        system = written(GOOD.replace("frechet.solve", "frechet.dissolve"))["sns"]
        with pytest.raises(UserError, match=r"\[sns\] implements frechet.dissolve, which is not there"):
            system.code()

    def test_an_unknown_system_gets_a_suggestion(self):
        with pytest.raises(UserError, match="did you mean handbook"):
            catalogue.system("hanbook")
