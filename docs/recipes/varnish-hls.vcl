# Varnish as a cache in front of the HLS of runnel: however many players ask for a segment, runnel is
# asked once. How long an answer stays is what runnel says with it.
vcl 4.1;

backend runnel {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    # Playlists, and segments by their number. A live stream NAME.ts has no end and is not for a cache.
    if (req.url !~ "^[^?]*(\.m3u8|-[0-9]+\.ts)(\?|$)") {
        return (pipe);
    }
    # Whatever a player writes behind a question mark, it is the same file.
    set req.url = regsub(req.url, "\?.*$", "");
    unset req.http.Cookie;
    return (hash);
}

sub vcl_backend_response {
    if (beresp.status == 404) {
        # Players that wait for a stream to begin ask once a second together.
        set beresp.ttl = 1s;
    }
    # While a playlist is fetched, the others get the one before.
    set beresp.grace = 2s;
}
