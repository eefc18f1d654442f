"""MEASURES. `workerpool bench`: workloads on a server of their own, the floor beside them, and what came of it.

Owns: workloads, how they are verified, and the form of the results. Does not own: the pool that performs them, which is
a real `workerpool start`. Invariant: a rate is told only of a run whose rows and whose handlers' own record agree that
each revision ran, in order, and never two of an item at a time.

``ground`` is the server and its databases, ``run`` a pool at work, ``record`` what the handlers noted, ``floor`` the
same by pgbench, ``report`` the results, ``plot`` their pictures; the workloads are listed in ``catalogue``.
"""
