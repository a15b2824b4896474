from __future__ import annotations

from instructrestore.pipelines.terminal.amounts import counts_text


def test_counts_read_as_people_say_them() -> None:
    assert counts_text(new_photo=1, region=1234, shard=0) == "1 new photo, 1,234 regions, 0 shards"
