"""The node implementations that come with treadle, one module each.

Importing a module here is quick: what is heavy (SQLAlchemy, httpx, psutil, CEL, croniter) is imported when a
node opens.
"""
