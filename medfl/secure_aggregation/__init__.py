"""Secure aggregation: masked updates of hospitals of which a server learns the sum, and nothing else.

The protocol is that of Bonawitz et al., *Practical Secure Aggregation for Privacy-Preserving Machine Learning*, CCS 2017, with
its consistency round against a server that lies, on the complete graph; Bell et al., *Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead*, CCS 2020, thin the graph out, which saves nothing for 32 sites. Every primitive is that of
`cryptography` or `pycryptodome`. Nothing here knows Flower or a network: `SiteAttempt` and `ServerAttempt` take and
give plain values.
"""

from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.decoding import AggregatedUpdate, decode_sum, quantisation_error_bounds
from medfl.secure_aggregation.encoding import encode_update
from medfl.secure_aggregation.layout import TensorLayout, VectorLayout, bounds_from
from medfl.secure_aggregation.roster import Member, Roster
from medfl.secure_aggregation.server import ServerAttempt
from medfl.secure_aggregation.site import SiteAttempt
from medfl.secure_aggregation.site_store import DiskStore, MemoryStore, SiteStore
from medfl.secure_aggregation.vector import ModularVector

__all__ = [
    "AggregatedUpdate",
    "Attempt",
    "DiskStore",
    "Member",
    "MemoryStore",
    "ModularVector",
    "Roster",
    "ServerAttempt",
    "SiteAttempt",
    "SiteStore",
    "TensorLayout",
    "VectorLayout",
    "bounds_from",
    "decode_sum",
    "encode_update",
    "quantisation_error_bounds",
]
