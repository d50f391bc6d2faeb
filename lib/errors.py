"""The one exception that reaches the user as a line of text."""


class Recon3DError(Exception):
    """A mistake in the input or a defect of the data.

    `where` names the file or key, `what` says what is wrong and what would be right; the command
    prints `program: error: where: what` and exits with code 1.
    """

    def __init__(self, where: object, what: str) -> None:
        super().__init__(str(where), what)
        self.where = str(where)
        self.what = what

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
