//! Container images: archives of `docker save`, and OCI image layouts (the OCI image format
//! specification) in an archive or a directory.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use tar::EntryType;
use ukl_image::tree::Tree;
use ukl_proto::image_conf::Port;

use crate::archive;
use crate::archive::Layer;
use crate::error::Error;
use crate::error::Result;

/// How an image's program is started.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The command.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Its arguments, or the command if there is no entry point.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Variables, `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The working directory.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// The user, `USER[:GROUP]`.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// The ports that it serves.
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde_json::Value>,
}

/// A value that may be `null`.
fn or_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Config {
    /// The ports that it serves.
    pub fn ports(&self) -> Vec<Port> {
        let ports = self.exposed_ports.keys();
        ports.filter_map(|text| Port::parse(text)).collect()
    }
}

/// The image's configuration file.
#[derive(Deserialize)]
struct ImageFile {
    architecture: Option<String>,
    os: Option<String>,
    config: Option<Config>,
}

/// An image of `docker save`: an element of manifest.json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An OCI index or manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Indexes may name indexes, but not without end.
const DEEPEST: usize = 4;

/// The files of a container image.
pub struct Image<'a> {
    name: String,
    files: Files<'a>,
}

enum Files<'a> {
    Dir(PathBuf),
    Tar {
        data: &'a [u8],
        files: HashMap<Vec<u8>, Range<usize>>,
        /// `docker save` stores a layer that occurs twice as a symbolic link.
        links: HashMap<Vec<u8>, Vec<u8>>,
    },
}

impl<'a> Image<'a> {
    /// The container image in a directory. `None` if the directory is an ordinary one.
    pub fn in_dir(dir: &Path) -> Result<Option<Image<'static>>> {
        Image {
            name: dir.display().to_string(),
            files: Files::Dir(dir.to_path_buf()),
        }
        .recognised()
    }

    /// The container image in an archive. `None` if it is an archive of ordinary files.
    pub fn in_archive(name: &str, data: &'a [u8]) -> Result<Option<Image<'a>>> {
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let bad = |error: io::Error| {
            Error::input(
                name,
                format!("not a tar archive, or a damaged one: {error}"),
            )
        };
        for entry in tar::Archive::new(data).entries().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let Ok(path) = archive::clean(name, &entry.path_bytes()) else {
                return Ok(None);
            };
            let start = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
            let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
            match entry.header().entry_type() {
                EntryType::Regular => {
                    files.insert(path, start..start.saturating_add(size));
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    links.insert(path, target.into_owned());
                }
                _ => {}
            }
        }
        Image {
            name: name.to_owned(),
            files: Files::Tar { data, files, links },
        }
        .recognised()
    }

    fn recognised(self) -> Result<Option<Self>> {
        let is_oci = self.get("oci-layout")?.is_some() && self.get("index.json")?.is_some();
        let is_saved = match self.get("manifest.json")? {
            Some(text) => serde_json::from_slice::<Vec<Saved>>(&text).is_ok(),
            None => false,
        };
        Ok((is_oci || is_saved).then_some(self))
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match &self.files {
            Files::Dir(dir) => {
                let path = dir.join(path);
                match fs::read(&path) {
                    Ok(data) => Ok(Some(data)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::file(&path)(error)),
                }
            }
            Files::Tar { data, files, links } => {
                let mut path = archive::clean(&self.name, path.as_bytes())?;
                if let Some(target) = links.get(&path) {
                    path = beside(&path, target);
                }
                let range = files.get(&path).cloned();
                Ok(range.and_then(|range| data.get(range)).map(<[u8]>::to_vec))
            }
        }
    }

    fn bad(&self, what: impl Into<String>) -> Error {
        Error::input(&self.name, what)
    }

    fn need(&self, path: &str) -> Result<Vec<u8>> {
        let data = self.get(path)?;
        data.ok_or_else(|| self.bad(format!("damaged: it has no `{path}'; save the image again")))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let text = self.need(path)?;
        serde_json::from_slice(&text).map_err(|error| self.bad(format!("`{path}': {error}")))
    }

    /// Adds the files of all layers to the tree, and returns the configuration.
    pub fn unpack(&self, tree: &mut Tree<'static>) -> Result<Config> {
        // docker writes both forms into one archive, with the tags in manifest.json.
        let (config, layers) = match self.get("manifest.json")? {
            Some(_) => self.saved()?,
            None => self.layout()?,
        };
        let file: ImageFile = self.json(&config)?;
        let (architecture, os) = (file.architecture.as_deref(), file.os.as_deref());
        if architecture.is_some_and(|name| name != "amd64") || os.is_some_and(|os| os != "linux") {
            return Err(self.bad(format!(
                "it is for {} on {}; pull and save the image for linux/amd64",
                os.unwrap_or("linux"),
                architecture.unwrap_or("amd64")
            )));
        }
        for layer in layers {
            let name = format!("{}: layer {layer}", self.name);
            let data = archive::decompress(self.need(&layer)?, &name)?;
            // A layer without changes is an archive without entries.
            if data.iter().all(|byte| *byte == 0) {
                continue;
            }
            archive::unpack(&name, &data, Layer::Change, tree)?;
        }
        Ok(file.config.unwrap_or_default())
    }

    /// The paths of the configuration and the layers in an archive of `docker save`.
    fn saved(&self) -> Result<(String, Vec<String>)> {
        let mut images: Vec<Saved> = self.json("manifest.json")?;
        match (images.pop(), images.is_empty()) {
            (Some(image), true) => Ok((image.config, image.layers)),
            (None, _) => Err(self.bad("it has no image")),
            (Some(last), false) => {
                let tags = images
                    .iter()
                    .chain([&last])
                    .flat_map(|image| &image.repo_tags);
                let tags: Vec<&str> = tags.flatten().map(String::as_str).collect();
                Err(self.bad(format!(
                    "it has several images ({}); save one of them",
                    tags.join(", ")
                )))
            }
        }
    }

    /// The paths of the configuration and the layers in an OCI image layout.
    fn layout(&self) -> Result<(String, Vec<String>)> {
        let mut manifest: Manifest = self.json("index.json")?;
        for _ in 0..DEEPEST {
            if let Some(config) = &manifest.config {
                let layers = manifest.layers.iter().map(|layer| self.blob(layer));
                return Ok((self.blob(config)?, layers.collect::<Result<_>>()?));
            }
            let fits = |descriptor: &&Descriptor| match &descriptor.platform {
                Some(platform) => platform.architecture == "amd64" && platform.os == "linux",
                None => true,
            };
            let fitting: Vec<&Descriptor> = manifest.manifests.iter().filter(fits).collect();
            manifest = match fitting[..] {
                [one] => self.json(&self.blob(one)?)?,
                [] => return Err(self.bad("it has no image for linux/amd64")),
                _ => return Err(self.bad("it has several images; save one of them")),
            };
        }
        Err(self.bad("its indexes name each other without an image"))
    }

    /// The path of a blob.
    fn blob(&self, descriptor: &Descriptor) -> Result<String> {
        let digest = descriptor.digest.split_once(':');
        let valid =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        match digest.filter(|(kind, hash)| valid(kind) && valid(hash)) {
            Some((kind, hash)) => Ok(format!("blobs/{kind}/{hash}")),
            None => Err(self.bad(format!("`{}' is not a digest", descriptor.digest))),
        }
    }
}

/// The target of a symbolic link at `path`, within the archive.
fn beside(path: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::FILE;
    use crate::archive::tests::Item;
    use crate::archive::tests::archive;

    const CONFIG: &str = r#"{"architecture": "amd64", "os": "linux", "config": {
        "Entrypoint": ["/bin/a"], "Cmd": ["x", "y"], "Env": ["PATH=/bin", "A=b=c"],
        "WorkingDir": "/srv", "User": "www", "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": null, "Labels": {"a": "b"}}}"#;

    fn text(data: &[u8]) -> &str {
        std::str::from_utf8(data).unwrap()
    }

    /// Two layers, the second of which removes a file of the first.
    fn layers() -> (Vec<u8>, Vec<u8>) {
        let first = archive(&[(FILE, "bin/a", "A"), (FILE, "bin/b", "B")]);
        (
            first,
            archive(&[(FILE, "bin/.wh.b", ""), (FILE, "bin/c", "C")]),
        )
    }

    fn check(image: &[u8]) {
        let image = Image::in_archive("x.tar", image).unwrap().unwrap();
        let mut tree = Tree::new();
        let config = image.unpack(&mut tree).unwrap();
        assert_eq!(config.entrypoint, ["/bin/a"]);
        assert_eq!(config.cmd, ["x", "y"]);
        assert_eq!(config.env, ["PATH=/bin", "A=b=c"]);
        assert_eq!((&*config.working_dir, &*config.user), ("/srv", "www"));
        let ports = config
            .ports()
            .iter()
            .map(Port::to_string)
            .collect::<Vec<_>>();
        assert_eq!(ports, ["53/udp", "80/tcp"]);
        let names: Vec<_> = tree.iter().map(|(path, _)| text(path)).collect();
        assert_eq!(names, ["bin", "bin/a", "bin/c"]);
    }

    #[test]
    fn an_archive_of_docker_save_is_read() {
        let (one, two) = layers();
        let manifest = r#"[{"Config": "c.json", "RepoTags": null,
            "Layers": ["1/layer.tar", "2/layer.tar"]}]"#;
        check(&archive(&[
            (FILE, "1/layer.tar", text(&one)),
            (EntryType::Symlink, "2/layer.tar", "../3/layer.tar"),
            (FILE, "3/layer.tar", text(&two)),
            (FILE, "c.json", CONFIG),
            (FILE, "manifest.json", manifest),
        ]));
    }

    const INDEX: &str = r#"{"schemaVersion": 2, "manifests": [
        {"digest": "sha256:11", "platform": {"architecture": "arm64", "os": "linux"}},
        {"digest": "sha256:22", "platform": {"architecture": "amd64", "os": "linux"}},
        {"digest": "sha256:33", "platform": {"architecture": "unknown", "os": "unknown"}}]}"#;
    const MANIFEST: &str = r#"{"config": {"digest": "sha256:44"},
        "layers": [{"digest": "sha256:55"}, {"digest": "sha256:66"}]}"#;

    #[test]
    fn an_oci_layout_is_read() {
        let (one, two) = layers();
        let items: &[Item<'_>] = &[
            (FILE, "oci-layout", "{}"),
            (
                FILE,
                "index.json",
                r#"{"manifests": [{"digest": "sha256:00"}]}"#,
            ),
            (FILE, "blobs/sha256/00", INDEX),
            (FILE, "blobs/sha256/22", MANIFEST),
            (FILE, "blobs/sha256/44", CONFIG),
            (FILE, "blobs/sha256/55", text(&one)),
            (FILE, "blobs/sha256/66", text(&two)),
        ];
        check(&archive(items));
        // The same in a directory.
        let dir = tempfile::tempdir().unwrap();
        for (_, path, content) in items {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let image = Image::in_dir(dir.path()).unwrap().unwrap();
        assert_eq!(image.unpack(&mut Tree::new()).unwrap().cmd, ["x", "y"]);
        assert!(Image::in_dir(&dir.path().join("blobs")).unwrap().is_none());
    }

    #[test]
    fn other_archives_are_no_images() {
        for items in [
            &[(FILE, "etc/passwd", "x")][..],
            &[(FILE, "manifest.json", "{\"name\": \"a web application\"}")],
            &[(FILE, "index.json", "{}")],
        ] {
            assert!(Image::in_archive("x", &archive(items)).unwrap().is_none());
        }
    }

    #[test]
    fn damaged_images_are_errors() {
        let layout = |index: &str, manifest: &str, config: &str| {
            let data = archive(&[
                (FILE, "oci-layout", "{}"),
                (FILE, "index.json", index),
                (FILE, "blobs/sha256/22", manifest),
                (FILE, "blobs/sha256/44", config),
            ]);
            let image = Image::in_archive("x.tar", &data).unwrap().unwrap();
            image.unpack(&mut Tree::new()).unwrap_err().to_string()
        };
        let index = r#"{"manifests": [{"digest": "sha256:22"}]}"#;
        let arm = r#"{"architecture": "arm64", "os": "linux"}"#;
        for (error, what) in [
            (layout("{}", MANIFEST, CONFIG), "no image for linux/amd64"),
            (layout("nonsense", MANIFEST, CONFIG), "index.json"),
            (layout(index, index, CONFIG), "without an image"),
            (layout(index, MANIFEST, CONFIG), "no `blobs/sha256/55'"),
            (layout(index, MANIFEST, arm), "for linux on arm64"),
            (
                layout(r#"{"manifests": [{"digest": "../../x"}]}"#, "", ""),
                "not a digest",
            ),
            (
                layout(
                    r#"{"manifests": [{"digest": "a:1"}, {"digest": "a:2"}]}"#,
                    "",
                    "",
                ),
                "several images",
            ),
        ] {
            assert!(
                error.starts_with("x.tar: ") && error.contains(what),
                "{error}"
            );
        }
        let two = r#"[{"Config": "c", "RepoTags": ["a:1"], "Layers": []},
            {"Config": "d", "RepoTags": ["b:1"], "Layers": []}]"#;
        let data = archive(&[(FILE, "manifest.json", two)]);
        let image = Image::in_archive("x", &data).unwrap().unwrap();
        let error = image.unpack(&mut Tree::new()).unwrap_err().to_string();
        assert!(error.contains("several images (a:1, b:1)"), "{error}");
    }
}
