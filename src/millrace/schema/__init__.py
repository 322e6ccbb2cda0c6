"""What everything is: the models of the wire, used alike by server, client, store, forms and command line.

The shapes are those of the Prefect 3 REST API where it has them (API version 0.8.4), so that either program can talk to
the other; fields of our own stand beside them and are named so in their description.
"""
