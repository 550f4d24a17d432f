# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Explores the interleavings of jobs, creators and reapers: the real steps of the activity protocol and the real runs, under a
scheduler that decides who goes on, how long everybody is held up, and what is lost."""
