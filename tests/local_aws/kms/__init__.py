# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""AWS KMS as far as CloudHSM users need it and moto lacks it: custom key stores and imported key material."""
