"""Pages that need no other file: skeleton and style, pictures of a grain, slices that move, the grain in 3D.

In come sections of HTML and fields as colours; out comes one page, the same look for getdata.html and
report.html.
"""
