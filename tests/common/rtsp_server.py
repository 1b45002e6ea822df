"""Serves a file over RTSP at /s: rtsp_server.py PORT PIPELINE [basic|digest|udp [ADDRESS]]. Prints a line
when it listens. User and password are cam and secret."""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

port, pipeline, method = sys.argv[1], sys.argv[2], (sys.argv[3:] + [""])[0]
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address((sys.argv[4:] + ["127.0.0.1"])[0])
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(pipeline)
if method == "udp":
    factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
elif method:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if method == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("cam", "secret"), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest("cam", "secret", token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/s", factory)
server.attach(None)
print("listening", flush=True)
GLib.MainLoop().run()
