"""Results that show themselves in a notebook."""


class Shown:
    """A result that a notebook shows as tables and charts; what they are, `openbook.app.show` says."""

    def _ipython_display_(self) -> None:
        """What IPython calls."""
        from importlib import import_module

        import_module("openbook.app.show").show(self)
