//! Reads tar archives, compressed or not.

use std::fs;
use std::io::Read;
use std::path::Path;

use tar::EntryType;
use ukl_image::tree::Node;
use ukl_image::tree::S_IFBLK;
use ukl_image::tree::S_IFCHR;
use ukl_image::tree::S_IFDIR;
use ukl_image::tree::S_IFIFO;
use ukl_image::tree::S_IFLNK;
use ukl_image::tree::S_IFREG;
use ukl_image::tree::Tree;

use crate::error::Error;
use crate::error::Result;
use crate::error::shown;

/// An archive that claims to be larger is refused: no image could hold it.
const LARGEST: u64 = 4 << 30;

/// The prefixes of the names of whiteouts (OCI image layer specification).
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// A whole root directory.
    Whole,
    /// A layer of a container image, which may remove files of the layers below.
    Change,
}

/// Reads a file, and decompresses it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let data = fs::read(path).map_err(Error::file(path))?;
    decompress(data, &path.display().to_string())
}

/// Decompresses gzip, zstd and xz. Other data stays as it is.
pub fn decompress(data: Vec<u8>, name: &str) -> Result<Vec<u8>> {
    let bad = |kind: &str, error: &dyn std::fmt::Display| {
        Error::input(name, format!("damaged {kind} data: {error}"))
    };
    let mut out = Vec::new();
    if data.starts_with(&[0x1f, 0x8b]) {
        let decoder = flate2::read::MultiGzDecoder::new(data.as_slice());
        take(decoder, &mut out).map_err(|error| bad("gzip", &error))?;
    } else if data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut rest = data.as_slice();
        // A file may consist of several frames, which follow each other.
        while !rest.is_empty() {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest);
            let decoder = decoder.map_err(|error| bad("zstd", &error))?;
            take(decoder, &mut out).map_err(|error| bad("zstd", &error))?;
        }
    } else if data.starts_with(b"\xfd7zXZ\0") {
        let decoder = liblzma::read::XzDecoder::new_multi_decoder(data.as_slice());
        take(decoder, &mut out).map_err(|error| bad("xz", &error))?;
    } else {
        return Ok(data);
    }
    if out.len() as u64 > LARGEST {
        return Err(Error::input(name, "too large for an image"));
    }
    Ok(out)
}

fn take(decoder: impl Read, out: &mut Vec<u8>) -> std::io::Result<usize> {
    let left = (LARGEST + 1).saturating_sub(out.len() as u64);
    decoder.take(left).read_to_end(out)
}

/// Adds the files of an archive to the tree. `name` is that of the archive, for messages.
pub fn unpack(name: &str, data: &[u8], layer: Layer, tree: &mut Tree<'static>) -> Result<()> {
    if layer == Layer::Change {
        // A whiteout concerns the layers below only, wherever it stands in this one.
        each(name, data, |path, _| {
            let at = path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(0, |at| at + 1);
            let (dir, last) = path.split_at(at);
            if last == OPAQUE {
                let dir = tree.resolve(dir);
                dir.iter().for_each(|dir| tree.remove_below(dir));
            } else if let Some(hidden) = last.strip_prefix(WHITEOUT) {
                let hidden = tree.resolve_parent(&[dir, hidden].concat());
                hidden.iter().for_each(|path| tree.remove(path));
            }
            Ok(())
        })?;
    }
    each(name, data, |path, entry| {
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if layer == Layer::Change && last.starts_with(WHITEOUT) {
            return Ok(());
        }
        add(name, path, entry, layer, tree)
    })
}

type Entry<'e> = tar::Entry<'e, &'e [u8]>;

/// Calls a function for each entry, with its path.
fn each(
    name: &str,
    data: &[u8],
    mut call: impl FnMut(&[u8], &mut Entry<'_>) -> Result<()>,
) -> Result<()> {
    let bad = |error: std::io::Error| {
        Error::input(
            name,
            format!("not a tar archive, or a damaged one: {error}"),
        )
    };
    let mut archive = tar::Archive::new(data);
    let mut any = false;
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        any = true;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let path = clean(name, &entry.path_bytes())?;
        if !path.is_empty() {
            call(&path, &mut entry)?;
        }
    }
    match any {
        true => Ok(()),
        false => Err(Error::input(name, "an archive without files")),
    }
}

/// A path in the archive without `.` and superfluous slashes. An absolute path is relative to the
/// root directory of the guest.
pub fn clean(name: &str, path: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) || path.contains(&0) {
        return Err(Error::input(
            name,
            format!(
                "its entry `{}' leads out of the archive; make an archive without `..'",
                String::from_utf8_lossy(path)
            ),
        ));
    }
    Ok(parts.join(&b'/'))
}

/// Adds one entry to the tree.
fn add(
    name: &str,
    path: &[u8],
    entry: &mut Entry<'_>,
    layer: Layer,
    tree: &mut Tree<'static>,
) -> Result<()> {
    // The guest mounts file systems of the kernel there.
    let is_hidden = path.starts_with(b"proc/") || path.starts_with(b"sys/");
    let bad = |what: String| Error::input(name, format!("its entry `{}' {what}", shown(path)));
    let header = entry.header();
    let unreadable = |error: std::io::Error| bad(format!("has a malformed header: {error}"));
    let number =
        |number: u64| u32::try_from(number).map_err(|_| bad("has an owner beyond 32 bits".into()));
    let permissions = header.mode().map_err(unreadable)? & 0o7777;
    let mut node = Node {
        owner: (
            number(header.uid().map_err(unreadable)?)?,
            number(header.gid().map_err(unreadable)?)?,
        ),
        ..Node::default()
    };
    let kind = header.entry_type();
    let devices = || -> Result<(u32, u32)> {
        let major = header.device_major().map_err(unreadable)?;
        let minor = header.device_minor().map_err(unreadable)?;
        Ok((major.unwrap_or(0), minor.unwrap_or(0)))
    };
    let link = |entry: &Entry<'_>| match entry.link_name_bytes() {
        Some(target) if !target.is_empty() => Ok(target.into_owned()),
        _ => Err(bad("is a link without a target".into())),
    };
    node.mode = match kind {
        EntryType::Directory => S_IFDIR | permissions,
        EntryType::Symlink => {
            node.data = link(entry)?.into();
            S_IFLNK | 0o777
        }
        EntryType::Link => {
            let target = link(entry)?;
            let target = clean(name, &target)?;
            let found = tree.resolve_parent(&target);
            let found = found
                .and_then(|path| tree.get(&path))
                .filter(|node| !node.is_dir());
            node = found.cloned().ok_or_else(|| {
                bad(format!(
                    "is a link to `{}', which is not there",
                    shown(&target)
                ))
            })?;
            node.mode
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            node.device = devices()?;
            permissions
                | match kind {
                    EntryType::Char => S_IFCHR,
                    EntryType::Block => S_IFBLK,
                    _ => S_IFIFO,
                }
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut data = Vec::new();
            if entry.size() > LARGEST {
                return Err(bad("is too large for an image".into()));
            }
            entry
                .read_to_end(&mut data)
                .map_err(|error| bad(format!("is damaged: {error}")))?;
            if u32::try_from(data.len()).is_err() {
                return Err(bad("is too large for an image".into()));
            }
            node.data = data.into();
            S_IFREG | permissions
        }
        other => {
            return Err(bad(format!(
                "has the type {:?}, which is unknown",
                char::from(other.as_byte())
            )));
        }
    };
    // devtmpfs has the kernel's devices.
    let is_device = path.starts_with(b"dev/") && !node.is_dir() && !node.is_file();
    if is_hidden || is_device && !node.is_symlink() {
        return Ok(());
    }
    if layer == Layer::Change
        && node.is_dir()
        && let Some(there) = tree.resolve_parent(path)
        && tree.get(&there).is_some_and(Node::is_symlink)
    {
        // In a layer, a directory replaces a link; in an archive of files, it leads through it.
        tree.remove(&there);
    }
    tree.put(path, node);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;

    /// An entry of a test archive: type, path, content or target.
    pub(crate) type Item<'a> = (EntryType, &'a str, &'a str);

    pub(crate) const FILE: EntryType = EntryType::Regular;
    const DIR: EntryType = EntryType::Directory;
    const LINK: EntryType = EntryType::Symlink;
    const HARD: EntryType = EntryType::Link;

    /// An archive, with names that `tar::Builder` would refuse.
    pub(crate) fn archive(items: &[Item<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, content) in items {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if *kind == DIR { 0o755 } else { 0o644 });
            header.set_uid(7);
            header.set_gid(8);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            let is_link = [LINK, HARD].contains(kind);
            let data = if is_link { "" } else { content };
            if is_link {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(layers: &[&[Item<'_>]], layer: Layer) -> Result<Tree<'static>> {
        let mut tree = Tree::new();
        for items in layers {
            unpack("test.tar", &archive(items), layer, &mut tree)?;
        }
        Ok(tree)
    }

    fn listed(tree: &Tree<'_>) -> String {
        let list = tree.iter().map(|(path, node)| {
            let path = String::from_utf8_lossy(path);
            match node.is_dir() {
                true => format!("{path}/"),
                false => format!("{path}={}", String::from_utf8_lossy(&node.data)),
            }
        });
        list.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_last_of_several_entries_of_a_name_counts() {
        let tree = unpacked(
            &[&[
                (FILE, "./a", "1"),
                (FILE, "/a", "2"),
                (DIR, "d", ""),
                (FILE, "d/x", "x"),
                (FILE, "d", "3"),
            ]],
            Layer::Whole,
        );
        let tree = tree.unwrap();
        assert_eq!(listed(&tree), "a=2 d=3");
        assert_eq!(tree.get(b"a").unwrap().owner, (7, 8));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for path in ["../a", "a/../../b", "a/..", "/.."] {
            let error = unpacked(&[&[(FILE, path, "x")]], Layer::Whole).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("test.tar: its entry `"), "{error}");
            assert!(error.contains("leads out"), "{error}");
        }
        let outside = &[(FILE, "a", "x"), (HARD, "b", "../../etc/passwd")];
        assert!(unpacked(&[outside], Layer::Whole).is_err());
        let absent = &[(HARD, "b", "/etc/passwd")];
        let error = unpacked(&[absent], Layer::Whole).unwrap_err().to_string();
        assert!(
            error.contains("link to `/etc/passwd', which is not there"),
            "{error}"
        );
    }

    #[test]
    fn links_stay_within_the_root() {
        let tree = unpacked(
            &[&[
                (LINK, "abs", "/etc"),
                (FILE, "abs/passwd", "p"),
                (LINK, "up", "../../../etc"),
                (FILE, "up/group", "g"),
                (HARD, "same", "abs/passwd"),
                (LINK, "loop", "loop"),
                (FILE, "loop/x", "x"),
            ]],
            Layer::Whole,
        );
        assert_eq!(
            listed(&tree.unwrap()),
            "abs=/etc etc/ etc/group=g etc/passwd=p loop/ loop/x=x same=p up=../../../etc"
        );
    }

    #[test]
    fn whiteouts_hide_what_is_below() {
        let below: &[Item<'_>] = &[
            (DIR, "a", ""),
            (FILE, "a/1", "1"),
            (FILE, "a/2", "2"),
            (DIR, "b", ""),
            (FILE, "b/1", "1"),
            (FILE, "c", "c"),
            (LINK, "l", "b"),
        ];
        let above: &[Item<'_>] = &[
            (FILE, "a/.wh.1", ""),
            (FILE, "a/3", "3"),
            // New files of this layer stay, though the whiteout comes later.
            (FILE, "b/new", "n"),
            (FILE, "b/.wh..wh..opq", ""),
            (FILE, ".wh.c", ""),
            (FILE, ".wh.none", ""),
            (DIR, "l", ""),
            (FILE, "l/x", "x"),
        ];
        let tree = unpacked(&[below, above], Layer::Change).unwrap();
        assert_eq!(listed(&tree), "a/ a/2=2 a/3=3 b/ b/new=n l/ l/x=x");
        // In an archive of files, they are ordinary files.
        let tree = unpacked(&[above], Layer::Whole).unwrap();
        assert!(tree.get(b".wh.c").is_some());
    }

    #[test]
    fn file_systems_of_the_kernel_stay_empty() {
        let device = (EntryType::Char, "dev/null", "");
        let items: &[Item<'_>] = &[(DIR, "proc", ""), (FILE, "proc/x", ""), device];
        assert_eq!(listed(&unpacked(&[items], Layer::Whole).unwrap()), "proc/");
    }

    #[test]
    fn every_compression_is_read() {
        let plain = archive(&[(FILE, "a", "hello")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&plain).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(plain.as_slice(), level);
        // Two frames, as `pzstd` writes.
        let (one, two) = plain.split_at(512);
        let frames = [one, two].map(|part| ruzstd::encoding::compress_to_vec(part, level));
        for data in [
            plain.clone(),
            gzip.finish().unwrap(),
            xz.finish().unwrap(),
            zstd,
            frames.concat(),
        ] {
            assert_eq!(decompress(data.clone(), "x").unwrap(), plain);
            for length in 6..data.len() {
                // What is cut off may be no archive, but it is no panic.
                if let Ok(cut) = decompress(data[..length].to_vec(), "x") {
                    let _ = unpack("x", &cut, Layer::Change, &mut Tree::new());
                }
            }
        }
    }

    #[test]
    fn other_files_are_no_archives() {
        for data in [vec![], vec![0; 1024], b"hello".to_vec(), vec![0xff; 2048]] {
            let error = unpack("x", &data, Layer::Whole, &mut Tree::new()).unwrap_err();
            assert!(error.to_string().contains("archive"), "{error}");
        }
    }

    #[test]
    fn damaged_archives_do_not_panic() {
        let good = archive(&[(DIR, "d", ""), (FILE, "d/a", "hello"), (LINK, "l", "d")]);
        for at in 0..good.len() {
            let mut data = good.clone();
            data[at] ^= 0x81;
            let _ = unpack("x", &data, Layer::Change, &mut Tree::new());
        }
    }
}
