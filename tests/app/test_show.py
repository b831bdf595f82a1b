"""Results show themselves in a real kernel: what a quant sees below a cell."""

import nbformat
import pytest
from nbclient import NotebookClient

import openbook as ob
from openbook.common.errors import UsageError

CELLS = {
    "market": "market",
    "backtest": "ob.run_backtest(momentum, market, optimizer='hrp', top_n=10, first='2020-01-02')",
    "compared": "ob.compare({'mine': ob.run_backtest(momentum, market, top_n=8, first='2020-01-02'), "
    "'equal': ob.run_backtest(None, market, first='2020-01-02')})",
    "decision": "ob.TradingDay('2022-12-28', {'provider': 'sample'}).decision",
    "two": "ob.show(market, ob.TradingDay('2022-12-28', {'provider': 'sample'}).card)",
}
FORMS = {  # of each cell: how many tables, callouts, rows of facts, charts
    "market": (0, 1, 1, 0),
    "backtest": (0, 0, 1, 1),
    "compared": (1, 0, 0, 1),
    "decision": (0, 1, 0, 1),
    "two": (0, 2, 2, 0),
}


@pytest.fixture(scope="module")
def outputs() -> dict:
    """The outputs of each cell."""
    head = "import openbook as ob\nmarket = ob.load_market()\n"
    head += "momentum = ob.compute_features(market, ['momentum_126'])['momentum_126']"
    cells = [nbformat.v4.new_code_cell(source) for source in (head, *CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=300).execute()
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells[1:]), strict=True))


@pytest.mark.parametrize("name", CELLS)
def test_a_result_shows_itself(outputs, name):
    found = [output["data"] for output in outputs[name] if output["output_type"] == "display_data"]
    html = "".join(data.get("text/html", "") for data in found)
    counts = (html.count("<table"), html.count('class="callout'), html.count('class="facts"'))
    assert (*counts, sum("image/png" in data for data in found)) == FORMS[name]


def test_what_has_no_form_is_named():
    with pytest.raises(UsageError, match="no way to show a dict"):
        ob.show({})
