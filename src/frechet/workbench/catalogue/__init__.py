"""The published methods that the library stands on: plain data in ``systems.toml``, and its reader."""

from frechet.workbench.catalogue.reader import System as System
from frechet.workbench.catalogue.reader import read as read
from frechet.workbench.catalogue.reader import system as system
from frechet.workbench.catalogue.reader import systems as systems
