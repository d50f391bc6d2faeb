"""The result of recon3d.py: the fields of the grain become files that people open.

In come fields, mask and facts of a method with the setting they were made in; out go grain_ang.npy,
grain.vtkhdf for ParaView and silx (`volume`), report.html with its pictures, and the lines of the summary
(`files`).
"""
