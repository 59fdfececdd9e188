//! A container image by its digest.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// An image named by its content: `registry/app@sha256:…`. A tag could mean something else tomorrow, and another thing on
/// another edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Image {
    text: String,
    at: usize,
}

impl Image {
    /// `registry/app`, without a tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        let name = self.text.get(..self.at).unwrap_or_default();
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        }
    }

    /// `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Whether `name`, as an engine calls an image (`registry/app@sha256:…`), has the same digest. Registries have mirrors.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        name.rsplit_once('@').is_some_and(|(_, digest)| digest == self.digest())
    }

    /// The digest's first 12 digits: for tables.
    #[must_use]
    pub fn short(&self) -> &str {
        self.digest().get(7..19).unwrap_or_default()
    }
}

impl FromStr for Image {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::usage(
                "an image is named by its digest, as in registry/app@sha256:<64 hexadecimal digits>; see `docker \
                          inspect --format '{{index .RepoDigests 0}}' IMAGE`",
            )
        };
        let (name, digest) = text.split_once('@').ok_or_else(wrong)?;
        let hex = digest.strip_prefix("sha256:").ok_or_else(wrong)?;
        let fits = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':');
        if !fits || name.is_empty() || name.len() > 255 || !name.bytes().all(plain) {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), at: name.len() })
    }
}

impl TryFrom<String> for Image {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> Self {
        image.text
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_digest() {
        let hex = "0123456789abcdef".repeat(4);
        let image: Image = format!("registry:5000/team/app:v2@sha256:{hex}").parse().unwrap();
        assert_eq!(image.repository(), "registry:5000/team/app");
        assert_eq!((image.digest(), image.short()), (format!("sha256:{hex}").as_str(), "0123456789ab"));
        for wrong in ["app", "app:v1", "app@sha256:12", &format!("@sha256:{hex}"), &format!("a b@sha256:{hex}")] {
            assert!(wrong.parse::<Image>().is_err(), "{wrong}");
        }
    }
}
