"""The server: routes from the wire table, two loops, streams; embedded on a Unix socket or shared on TCP."""

from millrace import stand_ins as stand_ins
