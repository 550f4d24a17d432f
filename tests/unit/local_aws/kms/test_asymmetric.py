# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Encryption with RSA keys."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from harness.kms import wrap


@pytest.fixture
def key_id(world, kms):
    return kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]


def refusal(operation, **request):
    with pytest.raises(ClientError) as caught:
        operation(**request)
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_what_the_public_key_seals_decrypt_opens(kms, key_id, algorithm):
    public = kms.get_public_key(KeyId=key_id)
    sealed = wrap(public["PublicKey"], algorithm, b"data key")

    opened = kms.decrypt(KeyId=key_id, EncryptionAlgorithm=algorithm, CiphertextBlob=sealed)

    assert opened["Plaintext"] == b"data key"
    assert opened["KeyId"] == public["KeyId"] == kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    assert public["KeySpec"] == "RSA_2048"


def test_encrypt_is_real_too(kms, key_id):
    given = {"KeyId": key_id, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    sealed = kms.encrypt(**given, Plaintext=b"data key")["CiphertextBlob"]

    assert kms.decrypt(**given, CiphertextBlob=sealed)["Plaintext"] == b"data key"


def test_what_does_not_suit_the_key_is_refused(kms, key_id):
    signing = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    other = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    sealed = wrap(kms.get_public_key(KeyId=other)["PublicKey"], "RSAES_OAEP_SHA_256", b"data key")
    request = {"CiphertextBlob": sealed, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}

    assert refusal(kms.decrypt, KeyId=key_id, **request) == "InvalidCiphertextException"
    sha_1 = {**request, "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    assert refusal(kms.decrypt, KeyId=other, **sha_1) == "InvalidCiphertextException"
    assert refusal(kms.decrypt, KeyId=other, CiphertextBlob=sealed) == "InvalidKeyUsageException"
    assert refusal(kms.decrypt, KeyId=signing, **request) == "InvalidKeyUsageException"
    kms.disable_key(KeyId=other)
    assert refusal(kms.decrypt, KeyId=other, **request) == "DisabledException"
