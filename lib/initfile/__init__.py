"""The init file: lines `key value` to parameters, and back.

In comes text, of today or of the 2017 programs (`old`); out come `Parameters`, each key declared once with
its reader, unit, meaning and default, or an error that names file, line and key.
"""
