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
  redis_timeout:
    description:
      - Seconds to wait for a connection, and for an answer. A lost connection is tried once more.
    type: float
    default: 5
requirements:
  - redis >= 5.0.0 (Python library)
"""
