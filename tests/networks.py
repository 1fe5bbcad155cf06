"""Contents of files of networks, written as people do."""

from __future__ import annotations

from nlb.model.network_list import NetworkList
from nlb.model.shield import Listing
from nlb.shield.cidr import Networks


def content(*networks: str) -> NetworkList:
    return NetworkList(Networks(networks).parts())


def listing(*written: str, files: tuple[NetworkList, ...] = ()) -> Listing:
    return Listing(written, files)
