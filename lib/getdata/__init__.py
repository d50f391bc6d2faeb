"""getdata.py: detector files become one array, whatever their format and on any number of ranks.

In come the options of the command line; out go dataarray.npy with its axes, getdata.json and getdata.html.
`acquire` is the workflow: `plan` decides what goes where (motors to positions in `motors`), `pipeline` and
`cleaning` make the pixels, `overview` keeps what the page shows.
"""
