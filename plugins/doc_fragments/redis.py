# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    # Where the activity store is. The environment variables are those that CI jobs have.

    DOCUMENTATION = r"""
options:
  redis_url:
    description:
      - URL of the Redis that keeps the activity records, such as V(rediss://user:password@redis.example.com:6379/0).
        Valkey serves as well.
      - V(redis+sentinel://sentinel1:26379,sentinel2:26379/name-of-the-master/0) has Sentinels name the server, and
        V(redis+cluster://node1:6379,node2:6379) is a Redis Cluster. With V(rediss+sentinel://) and V(rediss+cluster://), they
        are spoken to by TLS. User and password in such a URL are those of the servers, not of the Sentinels.
      - In a Cluster, the name of an environment has braces, as C({dev}), so that all its keys are in one place.
      - Without O(redis_url) and O(redis_host), the environment variable E(REDIS_URL) is used, then E(REDIS_HOST).
      - Marks in a password that have a meaning in URLs must be percent-encoded, as V(%23) for V(#).
      - Mutually exclusive with O(redis_host).
    type: str
  redis_host:
    description:
      - Host name or address of the Redis.
      - The environment variable E(REDIS_HOST) is used where nothing else names a Redis.
    type: str
  redis_port:
    description:
      - Port of the Redis at O(redis_host). The environment variable E(REDIS_PORT) is used if it is not set, then V(6379).
    type: int
  redis_username:
    description:
      - ACL user of the Redis.
    type: str
  redis_password:
    description:
      - Password of the Redis. It goes before one in O(redis_url).
      - The environment variable E(REDIS_PASSWORD) is used where no password is given otherwise.
    type: str
  redis_db:
    description:
      - Number of the database. Default is that of O(redis_url), or V(0).
    type: int
  redis_tls:
    description:
      - Use TLS with O(redis_host). With O(redis_url), begin the URL with V(rediss://) instead.
    type: bool
    default: false
  redis_ca_certs:
    description:
      - File with the certificates of the authorities that the Redis's certificate is checked against. Default is the
        system's.
    type: path
  redis_client_cert:
    description:
      - File with the certificate that is shown to a Redis that asks for one. It may hold the key as well.
    version_added: 0.2.0
    type: path
  redis_client_key:
    description:
      - File with the key of O(redis_client_cert).
    version_added: 0.2.0
    type: path
  redis_sentinel_username:
    description:
      - ACL user of the Sentinels, where they have users of their own.
    version_added: 0.2.0
    type: str
  redis_sentinel_password:
    description:
      - Password of the Sentinels, where they ask for one.
    version_added: 0.2.0
    type: str
  redis_timeout:
    description:
      - Seconds to wait for a connection, and for an answer.
    type: float
    default: 5
  redis_retry_for:
    description:
      - How many seconds long a step is begun again that meets a failure which passes - a lost connection, a server that is
        loading, or a replica that is about to take over.
      - Default is V(30) with Sentinels or a Cluster, because that is what a failover takes, and V(1) otherwise.
    version_added: 0.2.0
    type: float
  redis_min_replicas:
    description:
      - How many replicas must confirm a hold, a claim, a commit and a cancel before they count. What fewer confirm is an
        error, because it is lost if another replica takes over; a claim is then given back.
    version_added: 0.2.0
    type: int
    default: 0
  redis_replica_timeout:
    description:
      - Seconds to wait for O(redis_min_replicas) of them.
    version_added: 0.2.0
    type: float
    default: 1
requirements:
  - redis >= 5.0.0 (Python library)
"""
