import hashlib

from distill_eval.distill.shards import ShardReader, damage, join

BLOCKS = [(b"first", 2), (b"", 0), (b"third block", 5)]


def test_blocks_are_read_alone(tmp_path):
    (tmp_path / "a").write_bytes(join(BLOCKS))
    reader = ShardReader(tmp_path / "a")
    assert [reader.block(number) for number in (2, 0, 1)] == [BLOCKS[2], BLOCKS[0], BLOCKS[1]]


def test_the_head_is_eight_bytes_per_block():
    assert len(join(BLOCKS)) == 12 + 3 * 8 + 16


def test_damage_is_named(tmp_path):
    content, path = join(BLOCKS), tmp_path / "a"
    sha256 = hashlib.sha256(content).hexdigest()
    assert damage(path, size_bytes=len(content), sha256=sha256) == "it is missing"
    path.write_bytes(content)
    assert damage(path, size_bytes=len(content), sha256=sha256) is None
    path.write_bytes(content[:-1])
    assert damage(path, size_bytes=len(content), sha256=sha256) == "it has 51 bytes instead of 52"
    path.write_bytes(content[:-1] + b"x")
    assert damage(path, size_bytes=len(content), sha256=sha256) == "its content does not match its checksum"
