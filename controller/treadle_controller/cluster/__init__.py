"""Decisions: who runs what. Pure: state and the time go in, actions come out.

    desired   workflows, revisions, loops            (people write it)
    assigned  which agent holds which replica         (the controller writes it, with an epoch)
    observed  what agents report                      (agents write it)

`reconcile` compares the three for one workflow and returns what to do next; it is called again until it
returns nothing. `Fleet` knows agents and their free slots, `Sessions` who is connected and who is lost.
"""
