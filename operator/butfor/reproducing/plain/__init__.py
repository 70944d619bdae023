"""How an answer and a run are judged: standard library only, so that `repro/support/` can carry a copy.

Nothing here may import `butfor`: the same bytes judge hundreds of runs here and the one run of a person who
has only the `repro/` folder.
"""
