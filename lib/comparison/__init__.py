"""Two results of one grain: laid upon each other, and what is then different.

Registration, overlap of shapes, change of orientation, and which cell of one is which of the other. The
numerical files know neither of files nor of MPI; `compare` puts them together, `page` draws.
"""
