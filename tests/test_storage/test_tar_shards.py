"""Tar shards: what webdataset's own writer leaves is read at random, and nothing broken goes unnoticed."""
import io
import pickle
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image
from torch.utils.data import DataLoader

from egmim_mm.datasets import StreamSampler, UnlabeledTiles, imagery
from egmim_mm.storage import tar_index
from egmim_mm.storage.tar_index import shard_index
from egmim_mm.storage.tar_member import TarMember
from egmim_mm.storage.tile_reading import TileReadError, image_size, read_image, read_raw

LOAD = [dict(type='egmim_mm.LoadTile')]
NUMBER = 11


def pixels(i):
    return np.random.default_rng(i).integers(0, 256, (24 + i, 40, 3)).astype(np.uint8)


def encoded(array, kind='PNG'):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))


@pytest.fixture
def corpus(tmp_path):
    """Eleven images of different height in three shards, each with a class, a mask and a record."""
    folder = tmp_path / 'corpus'
    folder.mkdir()
    with webdataset.ShardWriter(f'{folder}/corpus-%06d.tar', maxcount=4, verbose=0) as writer:
        for i in range(NUMBER):
            writer.write({'__key__': f'area_{i % 2}/tile{i:03d}', 'png': encoded(pixels(i)), 'cls': i,
                          'json': dict(number=i), 'mask.png': encoded(pixels(i)[..., 0])})
    return folder


def pack(path, **members):
    """Write a tar archive of name -> bytes; '__' in a name is a dot."""
    with tarfile.open(path, 'w') as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace('__', '.'))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def keys(dataset):
    return [dataset.get_data_info(i)['img_path'].rsplit('/', 1)[1] for i in range(len(dataset))]


@pytest.mark.parametrize('shards', [
    'corpus/corpus-{000000..000002}.tar', 'corpus', 'shards.txt', 'corpus/corpus-00000{0,{1..2}}.tar',
    ['corpus/corpus-000000.tar', 'corpus/corpus-{000001..000002}.tar']])
def test_samples_are_those_that_webdataset_reads(corpus, tmp_path, shards):
    (tmp_path / 'shards.txt').write_text('# ours\ncorpus/corpus-{000000..000001}.tar\n\ncorpus/corpus-000002.tar\n')
    dataset = UnlabeledTiles(tmp_path, shards=shards, pipeline=LOAD, check_first=5)
    theirs = webdataset.WebDataset(f'{corpus}/corpus-{{000000..000002}}.tar', shardshuffle=False)
    reference = list(theirs.decode('rgb8'))
    assert len(dataset) == len(reference) == NUMBER
    for place, theirs in enumerate(reference):
        ours = dataset[place]
        assert ours['img_path'] == f'{theirs["__url__"]}: {theirs["__key__"]}.png'
        assert (ours['img'][..., ::-1] == theirs['png']).all() and (ours['img'][..., ::-1] == pixels(place)).all()
        assert ours['img_shape'] == (24 + place, 40) and ours['sample_idx'] == place


def test_choice_by_suffix_include_and_size(corpus, tmp_path):
    masks = UnlabeledTiles(corpus, shards='.', suffixes=('.MASK.png', ), pipeline=LOAD)
    assert keys(masks)[0] == 'tile000.mask.png' and (masks[2]['img'][..., 0] == pixels(2)[..., 0]).all()
    odd = UnlabeledTiles(corpus, shards='.', include='area_1/*')
    assert keys(odd) == [f'tile{i:03d}.png' for i in range(1, NUMBER, 2)]
    with pytest.raises(TileReadError, match=r'corpus-000000.tar: area_0/tile000.png: 24 x 40 px .*min_size=27'):
        UnlabeledTiles(corpus, shards='.', min_size=27)
    assert keys(UnlabeledTiles(corpus, shards='.', min_size=27, on_error='skip'))[0] == 'tile003.png'
    late = UnlabeledTiles(corpus, shards='.', min_size=27, on_error='skip', check_first=0, pipeline=LOAD)
    assert len(late) == NUMBER and late[0]['img'].shape[0] == 27  # the next that is large enough
    with pytest.raises(FileNotFoundError, match="none of its 11 images matches include='x'"):
        UnlabeledTiles(corpus, shards='.', include='x')


def stream(dataset, workers, count, skipped=0, context=None):
    sampler = StreamSampler(dataset, seed=3)
    sampler.skip(skipped)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=stack,
                        multiprocessing_context=context)
    return [batch for batch, _ in zip(loader, range(count))]


def stack(samples):
    return np.stack([sample['img'] for sample in samples])


def test_the_stream_is_that_of_the_same_files_in_a_folder(corpus, tmp_path):
    for i in range(NUMBER):
        (tmp_path / 'files').mkdir(exist_ok=True)
        (tmp_path / f'files/tile{i:03d}.png').write_bytes(encoded(pixels(i)))
    crop = [*LOAD, dict(type='egmim_mm.RandomScaledCrop', crop_size=16)]
    shards, files = UnlabeledTiles(corpus, shards='.', pipeline=crop), UnlabeledTiles(tmp_path / 'files', pipeline=crop)
    expected = stream(files, 0, 12)
    for kind in (dict(workers=0), dict(workers=2, context='fork')):
        assert all((a == b).all() for a, b in zip(stream(shards, count=12, **kind), expected, strict=True))
    resumed = stream(pickle.loads(pickle.dumps(shards)), 0, 5, skipped=14)  # a spawned worker gets a pickled copy
    assert all((a == b).all() for a, b in zip(resumed, expected[7:], strict=True))


def test_a_shard_is_indexed_once_and_anew_when_it_changes(corpus, tmp_path, monkeypatch):
    scanned, original = [], tar_index._scan
    monkeypatch.setattr(tar_index, '_scan', lambda path, stamp: scanned.append(path[-5]) or original(path, stamp))
    first = UnlabeledTiles(corpus, shards='.', pipeline=LOAD)
    again = UnlabeledTiles(corpus, shards='.', pipeline=LOAD)
    assert sorted(scanned) == ['0', '1', '2'] and keys(first) == keys(again)
    assert all((first[i]['img'] == again[i]['img']).all() for i in range(NUMBER))
    pack(corpus / 'corpus-000001.tar', new__png=encoded(pixels(0)))
    with pytest.raises(TileReadError, match='corpus-000001.tar: area_0/tile004.png.*has changed since it was indexed'):
        again[4]
    assert keys(UnlabeledTiles(corpus, shards='.')).count('corpus-000001.tar: new.png') == 1
    assert sorted(scanned) == ['0', '1', '1', '2']
    for kept in (tmp_path / 'home/.cache/egmim_mm').iterdir():
        kept.write_bytes(kept.read_bytes()[:100])
    assert len(UnlabeledTiles(corpus, shards='.')) == 8 and len(scanned) == 7


def test_names_and_links_of_other_tar_writers(tmp_path):
    content = encoded(pixels(0))
    with tarfile.open(tmp_path / 'x.tar', 'w', format=tarfile.PAX_FORMAT) as archive:
        long = 'folder.with.dots/' + 'long' * 60 + '/\u00e4\u4e16.PNG'
        for name in ('./a.png', long, '._a.png', 'no_suffix', '__meta__/b.png', 'd/.hidden.png', 'folder/'):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith('/') else tarfile.REGTYPE
            member.size = 0 if name.endswith('/') else len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, kind in (('hard.png', tarfile.LNKTYPE), ('soft.png', tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, './a.png'
            archive.addfile(member)
    index = shard_index(str(tmp_path / 'x.tar'))
    assert list(index.names) == ['./a.png', long, 'hard.png'] and index.extensions == ('.png', )
    dataset = UnlabeledTiles(tmp_path, shards='x.tar', include=['a', 'hard'], pipeline=LOAD)
    assert [(dataset[i]['img'][..., ::-1] == pixels(0)).all() for i in range(len(dataset))] == [True, True]


def test_a_member_is_a_file_for_every_reader(corpus):
    index = shard_index(str(corpus / 'corpus-000000.tar'))
    row = list(index.names).index('area_1/tile003.png')
    member = TarMember(str(corpus / 'corpus-000000.tar'), 'area_1/tile003.png', int(index.offsets[row]),
                       int(index.sizes[row]), index.stamp)
    assert image_size(member) == (27, 40) and member.read() == encoded(pixels(3))
    assert (read_image(member)[..., ::-1] == pixels(3)).all() and (read_raw(member, True) == pixels(3)).all()
    with member.open() as file:
        file.seek(-4, io.SEEK_END)
        assert file.read() == member.read()[-4:] and file.read() == b''  # and not on into the next member


IMAGE = encoded(pixels(0))


@pytest.mark.parametrize('members, message', [
    (dict(), 'no images .* in 1 shards, .*x.tar the first; they hold no files'),
    (dict(a__json=b'{}', b__json=b'{}', a__mask__png=IMAGE), r'they hold 2 \.json, 1 \.mask\.png'),
    (dict(a__png=IMAGE, b__png=IMAGE, b__jpg=IMAGE), r'x.tar: one sample has several images, b.png and b.jpg;'),
    (dict(a__png=IMAGE, b__png=b''), 'x.tar: b.png: not an image'),
    (dict(a__png=IMAGE, b__png=b'hello'), 'x.tar: b.png: not an image')])
def test_shards_without_usable_images(tmp_path, members, message):
    pack(tmp_path / 'x.tar', **members)
    with pytest.raises((FileNotFoundError, TileReadError), match=message):
        UnlabeledTiles(tmp_path, shards='x.tar')


def broken(path, how):
    content = path.read_bytes()
    if how == 'in a member':
        path.write_bytes(content[:len(content) // 2])
    elif how == 'at the end':
        end = int((lambda index: index.offsets[-1] + index.sizes[-1])(shard_index(str(path))))
        path.write_bytes(content[:-(-end // 512) * 512])
    elif how == 'header':
        path.write_bytes(content.replace(b'c.png', b'd.png', 1))  # the checksum is wrong
    elif how == 'two':
        path.write_bytes(content + content)


@pytest.mark.parametrize('how, message, left', [
    ('in a member', r'truncated .*, after 1 files', 1), ('at the end', 'the end of the archive is missing, after 3', 3),
    ('header', r'damaged at byte \d+, after 2 files', 2), ('two', 'as of two archives in one file, after 3 files', 3)])
def test_damaged_archives(tmp_path, how, message, left, monkeypatch):
    image = encoded(pixels(40))  # noise: the archive is mostly members
    broken(pack(tmp_path / 'x.tar', a__png=image, b__png=image, c__png=image), how)
    with pytest.raises(TileReadError, match=f'x.tar: .*{message}'):
        UnlabeledTiles(tmp_path, shards='x.tar')
    lines = []
    monkeypatch.setattr(imagery, 'print_log', lambda text, **_: lines.append(text))
    dataset = UnlabeledTiles(tmp_path, shards='x.tar', on_error='skip', pipeline=LOAD)
    assert len(dataset) == left and (dataset[left - 1]['img'][..., ::-1] == pixels(40)).all()
    assert len(lines) == 1 and lines[0].startswith('Skipped') and 'x.tar' in lines[0]


def test_files_that_are_no_archives_and_bad_patterns(tmp_path):
    pack(tmp_path / 'good.tar', a__png=IMAGE)
    (tmp_path / 'text.tar').write_text('hello' * 1000)
    (tmp_path / 'empty.tar').touch()
    (tmp_path / 'zipped.tar.gz').write_bytes(b'')
    with tarfile.open(tmp_path / 'really_gz.tar', 'w:gz') as archive:
        archive.add(tmp_path / 'text.tar', 'a.png')
    with tarfile.open(tmp_path / 'twice.tar', 'w') as archive:
        for _ in range(2):
            archive.add(tmp_path / 'text.tar', 'a.png')
    (tmp_path / 'folder').mkdir()
    for shards, error, message in (
            ('text.tar', TileReadError, 'text.tar: not an uncompressed tar'), ('empty.tar', TileReadError, 'empty'),
            ('zipped.tar.gz', TileReadError, 'zipped.tar.gz: a compressed archive has no random access; unpack'),
            ('really_gz.tar', TileReadError, 'really_gz.tar: not an uncompressed'),
            ('twice.tar', TileReadError, 'twice.tar: holds a.png twice'),
            ('x-{0..2}.tar', FileNotFoundError, '3 of 3 shards do not exist: .*x-0.tar, '),
            ('folder', FileNotFoundError, 'no .tar files in folder .*folder'),
            ('x-{0..2.tar', ValueError, "shard pattern 'x-{0..2.tar'"),
            ('s3://bucket/x.tar', ValueError, 'read from mounted disks only'),
            (['good.tar', './good.tar'], ValueError, 'good.tar is named twice')):
        with pytest.raises(error, match=message):
            UnlabeledTiles(tmp_path, shards=shards)
    skipped = UnlabeledTiles(tmp_path, shards=['text.tar', 'good.tar', 'twice.tar'], on_error='skip')
    assert keys(skipped) == ['good.tar: a.png']
    with pytest.raises(FileNotFoundError, match=r"no images in folder .*; it holds 5 .tar files, which shards='.'"):
        UnlabeledTiles(tmp_path)
    (tmp_path / 'list.txt').write_text('good.tar\n')
    with pytest.raises(ValueError, match='names tar archives: pass it as shards'):
        UnlabeledTiles(tmp_path, list_file='list.txt')
    with pytest.raises(ValueError, match='set one of them'):
        UnlabeledTiles(tmp_path, shards='good.tar', list_file='x.txt')
