//! Writing an image archive: an OCI image layout in a tar file, with docker's own `manifest.json` in it too, as
//! `docker save` writes it, so that containerd, docker, podman and kind all load it.
//!
//! The same input gives the same bytes: entries are sorted, times are zero, owners are root.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tools;

/// The time that everything in an image claims to have been made.
const EPOCH: &str = "1970-01-01T00:00:00Z";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image with one layer that holds one program.
pub(crate) struct Image<'a> {
    /// Full reference with its tag, such as `localhost/coppice-sidecar:0.1.0`.
    pub(crate) reference: &'a str,
    /// Where the program is in the image.
    pub(crate) program: &'a str,
    /// The program.
    pub(crate) content: &'a [u8],
    /// `uid:gid` that it runs as.
    pub(crate) user: &'a str,
    /// Labels of the image, and annotations of its manifest.
    pub(crate) labels: BTreeMap<&'static str, String>,
}

impl Image<'_> {
    /// Writes the archive, and returns the digest of the image's manifest.
    pub(crate) fn write(&self, path: &Path) -> Result<String> {
        let (bytes, digest) = self.archive()?;
        // Whoever loads the archive meanwhile sees the old one or the new one.
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, bytes)
            .and_then(|()| fs::rename(&unfinished, path))
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(digest)
    }

    fn archive(&self) -> Result<(Vec<u8>, String)> {
        let Some((name, tag)) = self.reference.rsplit_once(':') else {
            bail!("{} has no tag", self.reference);
        };
        let layer = self.layer()?;
        let layer_digest = digest(&layer);
        let config = self.config(&layer_digest)?;
        let config_digest = digest(&config);
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config_digest, &config),
            "layers": [descriptor(LAYER, &layer_digest, &layer)],
            "annotations": self.labels,
        }))?;
        let manifest_digest = digest(&manifest);

        let mut top = descriptor(MANIFEST, &manifest_digest, &manifest);
        top["platform"] = json!({"architecture": architecture()?, "os": "linux"});
        top["annotations"] = json!({
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [top],
        }))?;
        let docker = serde_json::to_vec(&json!([{
            "Config": blob(&config_digest),
            "RepoTags": [format!("{name}:{tag}")],
            "Layers": [blob(&layer_digest)],
        }]))?;

        let mut files = BTreeMap::new();
        files.insert(blob(&layer_digest), layer);
        files.insert(blob(&config_digest), config);
        files.insert(blob(&manifest_digest), manifest);
        files.insert("index.json".to_owned(), index);
        files.insert("manifest.json".to_owned(), docker);
        files.insert(
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        );
        let mut archive = tar::Builder::new(Vec::new());
        folder(&mut archive, "blobs/")?;
        folder(&mut archive, "blobs/sha256/")?;
        for (path, content) in &files {
            file(&mut archive, path, 0o644, content)?;
        }
        Ok((archive.into_inner()?, manifest_digest))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        file(
            &mut layer,
            self.program.trim_start_matches('/'),
            0o755,
            self.content,
        )?;
        Ok(layer.into_inner()?)
    }

    fn config(&self, layer_digest: &str) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(&json!({
            "architecture": architecture()?,
            "os": "linux",
            "created": EPOCH,
            "config": {
                "User": self.user,
                "Entrypoint": [self.program],
                "Env": ["PATH=/"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "history": [{"created": EPOCH, "created_by": "cargo xtask images"}],
        }))?)
    }
}

/// This machine's architecture, as images name it.
fn architecture() -> Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("images for {other} are not supported"),
    })
}

fn descriptor(media_type: &str, digest: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": content.len()})
}

/// `sha256:…` of some bytes.
fn digest(content: &[u8]) -> String {
    format!("sha256:{}", tools::hex(&Sha256::digest(content)))
}

/// Where the layout keeps the bytes of a digest.
fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn folder(archive: &mut tar::Builder<Vec<u8>>, path: &str) -> Result<()> {
    entry(archive, path, tar::EntryType::Directory, 0o755, &[])
}

fn file(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    entry(archive, path, tar::EntryType::Regular, mode, content)
}

fn entry(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(archive.append(&header, content)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn mk_image(content: &[u8]) -> Image<'_> {
        Image {
            reference: "localhost/coppice-thing:1.2.3",
            program: "/coppice-thing",
            content,
            user: "65532:65532",
            labels: BTreeMap::from([("org.opencontainers.image.version", "1.2.3".to_owned())]),
        }
    }

    fn read(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        files
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let (first, digest) = mk_image(b"program").archive().unwrap();
        let (second, same) = mk_image(b"program").archive().unwrap();
        assert_eq!((first, &digest), (second, &same));
        let (_, other) = mk_image(b"another").archive().unwrap();
        assert_ne!(digest, other);
    }

    #[test]
    fn every_reference_leads_to_bytes_of_its_digest() {
        let (archive, manifest_digest) = mk_image(b"program").archive().unwrap();
        let files = read(&archive);
        let parsed = |content: &[u8]| serde_json::from_slice::<Value>(content).unwrap();
        let index = parsed(&files["index.json"]);
        assert_eq!(index["manifests"][0]["digest"], manifest_digest.as_str());
        let manifest = parsed(&files[&blob(&manifest_digest)]);
        let mut found = vec![index["manifests"][0].clone(), manifest["config"].clone()];
        found.push(manifest["layers"][0].clone());
        for reference in found {
            let wanted = reference["digest"].as_str().unwrap();
            let content = &files[&blob(wanted)];
            assert_eq!(digest(content), wanted);
            assert_eq!(reference["size"], content.len());
        }
        let docker = parsed(&files["manifest.json"]);
        assert_eq!(docker[0]["RepoTags"][0], "localhost/coppice-thing:1.2.3");
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
        let layer = &files[docker[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(read(layer)["coppice-thing"], b"program");
    }

    #[test]
    fn the_program_runs_unprivileged() {
        let (archive, manifest_digest) = mk_image(b"program").archive().unwrap();
        let files = read(&archive);
        let manifest: Value = serde_json::from_slice(&files[&blob(&manifest_digest)]).unwrap();
        let config = &files[&blob(manifest["config"]["digest"].as_str().unwrap())];
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/coppice-thing"]));
    }
}
