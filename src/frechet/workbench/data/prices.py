"""Share prices that come with Matplotlib."""

import numpy as np

from frechet.workbench.data.frozen import loaded_once


@loaded_once
def monthly_returns() -> np.ndarray:
    """Monthly returns of seven technology shares from 2004 to 2022.

    Only months in which every price is known count. The shares are IBM, Apple, Microsoft, Xerox, Amazon,
    Alphabet and Adobe.

    Returns:
        returns: shape (months, 7), relative change of the price from one month to the next, in percent.

    Source: "Stocks.csv" as bundled with Matplotlib (Yahoo Finance).
    """
    from matplotlib import cbook

    path = str(cbook.get_sample_data("Stocks.csv", asfileobj=False))
    table = np.genfromtxt(path, delimiter=",", names=True, skip_header=1, deletechars="")
    names = ["IBM", "AAPL", "MSFT", "XRX", "AMZN", "GOOGL", "ADBE"]
    prices = np.stack([table[name] for name in names], axis=1)
    prices = prices[np.isfinite(prices).all(axis=1)]
    prices = prices[:-1]  # the last quote is of the same month as the one before
    return 100 * (prices[1:] / prices[:-1] - 1)
