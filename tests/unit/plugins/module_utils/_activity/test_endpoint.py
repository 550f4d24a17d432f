# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Where the activity store is: which of the many ways to say it wins, and that no secret is ever repeated."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError, find_endpoint
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("params", "environ", "name", "url", "password"),
    [
        ({"redis_url": "redis://a"}, {"REDIS_URL": "redis://b"}, "a:6379", "redis://a", None),
        ({"redis_url": "rediss://u:p@a:7000/1"}, {"REDIS_PASSWORD": "e"}, "a:7000", "rediss://u:p@a:7000/1", None),
        ({"redis_url": "redis://a", "redis_password": "p"}, {"REDIS_PASSWORD": "e"}, "a:6379", "redis://a", "p"),
        ({"redis_url": "redis://a"}, {"REDIS_PASSWORD": "e"}, "a:6379", "redis://a", "e"),
        ({"redis_url": "unix:///run/redis.sock"}, {}, "/run/redis.sock", "unix:///run/redis.sock", None),
        ({"redis_host": "h"}, {"REDIS_URL": "redis://b"}, "h:6379", None, None),
        ({"redis_host": "h", "redis_port": 7001}, {"REDIS_PORT": "7002"}, "h:7001", None, None),
        ({}, {"REDIS_URL": "redis://b:1", "REDIS_HOST": "c"}, "b:1", "redis://b:1", None),
        ({}, {"REDIS_HOST": "c", "REDIS_PORT": "7002", "REDIS_PASSWORD": "e"}, "c:7002", None, "e"),
        ({"redis_url": ""}, {"REDIS_HOST": "c"}, "c:6379", None, None),
    ],
)
def test_endpoint(params, environ, name, url, password):
    endpoint = find_endpoint(params, environ)

    assert (endpoint.name, endpoint.url, endpoint.arguments.get("password")) == (name, url, password)


SENTINELS = (("s1", 26379), ("s2", 70))


@pytest.mark.parametrize(
    ("url", "kind", "name", "plain", "nodes", "master"),
    [
        ("redis+sentinel://u:p@s1,s2:70/main/3", "sentinel", "sentinel s1:26379,s2:70", "redis://u:p@s1/3", SENTINELS, "main"),
        ("rediss+sentinel://s1,s2:70/a%20b", "sentinel", "sentinel s1:26379,s2:70", "rediss://s1", SENTINELS, "a b"),
        ("redis+cluster://:p@a,[::1]:70", "cluster", "cluster a:6379,::1:70", "redis://:p@a", (("a", 6379), ("::1", 70)), ""),
        ("rediss+cluster://a:1/0?x=y", "cluster", "cluster a:1", "rediss://a:1/0?x=y", (("a", 1),), ""),
    ],
)  # fmt: skip
def test_many_servers(url, kind, name, plain, nodes, master):
    endpoint = find_endpoint({"redis_url": url, "redis_sentinel_password": "w"}, {"REDIS_PASSWORD": "e"})

    assert (endpoint.kind, endpoint.name, endpoint.url, endpoint.nodes, endpoint.master) == (
        kind,
        name,
        plain,
        nodes,
        master,
    )
    assert endpoint.arguments == ({} if ":p@" in url else {"password": "e"})
    assert endpoint.sentinel_arguments == {"password": "w"}
    assert endpoint.secrets >= {"w"}


def test_tls():
    assert find_endpoint({"redis_host": "h", "redis_tls": True, "redis_ca_certs": "/ca"}, {}).arguments == {
        "host": "h",
        "port": 6379,
        "ssl": True,
        "ssl_ca_certs": "/ca",
    }
    files = {"redis_ca_certs": "/ca", "redis_client_cert": "/cert", "redis_client_key": "/key"}
    arguments = {"ssl_ca_certs": "/ca", "ssl_certfile": "/cert", "ssl_keyfile": "/key"}
    for scheme in ("rediss", "rediss+cluster"):
        assert find_endpoint({"redis_url": f"{scheme}://h", **files}, {}).arguments == arguments
    assert find_endpoint({"redis_url": "redis://h", **files}, {}).arguments == {}


@pytest.mark.parametrize(
    ("params", "environ", "message"),
    [
        ({}, {}, "redis_url: no Redis is named"),
        ({"redis_url": "http://:s3cret@h"}, {}, "redis_url: not the URL of a Redis"),
        ({"redis_url": "redis://:s3cret@h:port"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis://u:12#s3cret@h"}, {}, "redis_url: its host or port is malformed.* # .* as %23"),
        ({"redis_url": "redis://:12/s3cret@h"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis://h?password=s3cret@x"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis://:6379"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis://a", "redis_host": "b"}, {}, "redis_url: both redis_url and redis_host are set"),
        ({"redis_url": "redis://a", "redis_tls": True}, {}, "redis_tls: is for redis_host.*rediss://"),
        ({"redis_host": "h", "redis_port": 99999}, {}, "redis_port: '99999' is no port"),
        ({"redis_host": "h", "redis_port": -5}, {}, "redis_port: '-5' is no port"),
        ({"redis_url": "redis://a,b"}, {}, r"redis_url: several hosts. Begin the URL with redis\+sentinel:// or"),
        ({"redis_url": "redis+sentinel://a,b"}, {}, "redis_url: names no master"),
        ({"redis_url": "redis+sentinel://:s3cret@a,/m"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis+sentinel://a,b:x/m"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis+sentinel://:12/s3cret@a/m"}, {}, "redis_url: its host or port is malformed"),
        ({"redis_url": "redis+cluster://a/1"}, {}, "redis_url: a Redis Cluster has no database but 0"),
        ({"redis_url": "redis+cluster://a", "redis_db": 1}, {}, "redis_db: a Redis Cluster has no database but 0"),
        ({"redis_url": "redis+x://a"}, {}, "redis_url: not the URL of a Redis"),
        ({"redis_url": "redis+cluster://a", "redis_tls": True}, {}, "redis_tls: is for redis_host"),
        ({"redis_url": "redis://"}, {}, "redis_url: not the URL of a Redis"),
        ({}, {"REDIS_URL": "h:6379"}, "REDIS_URL: not the URL of a Redis"),
        ({}, {"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:6379"}, "REDIS_PORT: 'tcp://10.0.0.1:6379' is no port"),
    ],
)
def test_bad_configuration(params, environ, message):
    with pytest.raises(ActivityError, match=message) as caught:
        find_endpoint(params, environ)
    assert "s3cret" not in str(caught.value)


def test_endpoint_shows_no_secret_and_knows_all_of_them():
    endpoint = find_endpoint({"redis_url": "redis://:s3cret%23one@h", "redis_password": "s3cret-two"}, {})

    assert "s3cret" not in repr(endpoint)
    assert endpoint.secrets >= {"s3cret%23one", "s3cret#one", "s3cret-two"}


@given(st.text(max_size=30), st.sampled_from(["redis", "rediss+sentinel", "redis+cluster", "unix"]))
def test_any_url_is_read_or_refused_without_showing_its_password(text, scheme):
    url = f"{scheme}://user:s3cret@{text}"
    shown = []
    try:
        endpoint = find_endpoint({"redis_url": url}, {})
        shown.append(repr(endpoint))
    except ActivityError as error:
        shown.append(str(error))
    assert "s3cret" not in shown[0]
