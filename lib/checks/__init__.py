"""What the program asks of its own result, and whether another geometry fits the scan better.

In come the setting and the reconstructed density; out go the projections beside the images
(`projections`), verdicts on signs, flips and frames (`geometry`, `doubts`), and warnings in plain words
(`trust`).
"""
