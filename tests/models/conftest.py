"""Fixtures of the models' tests."""

import pytest

from keras_attn.backbones import flownet_s


@pytest.fixture
def small_flownet(monkeypatch):
    """FlowNetS with eight filters in every layer."""
    for table in ("CONVOLUTIONS", "EXPANSIONS"):
        small = {
            name: (*row[:-1], 8) if isinstance(row, tuple) else 8
            for name, row in getattr(flownet_s, table).items()
        }
        monkeypatch.setattr(flownet_s, table, small)
