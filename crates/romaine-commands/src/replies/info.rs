//! The reply of `INFO`.

use std::str::FromStr;

use romaine_resp::Reader;

use super::fields::text;
use crate::convert::{ConversionError, FromValue};

/// The reply of `INFO`: sections of named values, in the server's order.
///
/// [`get`](Self::get) and [`number`](Self::number) find any field; the methods named after sections return the common
/// fields typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    sections: Vec<(String, Vec<(String, String)>)>,
}

/// One section of [`Info`].
#[derive(Debug, Clone, Copy)]
pub struct InfoSection<'a> {
    fields: &'a [(String, String)],
}

impl Info {
    /// Reads the text of an `INFO` reply.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines().map(str::trim_end) {
            if let Some(title) = line.strip_prefix('#') {
                info.sections.push((title.trim().to_ascii_lowercase(), Vec::new()));
            } else if let Some((name, value)) = line.split_once(':') {
                if info.sections.is_empty() {
                    info.sections.push((String::new(), Vec::new()));
                }
                if let Some((_, fields)) = info.sections.last_mut() {
                    fields.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        info
    }

    /// A section by its name in lower case: `server`, `replication`, ….
    #[must_use]
    pub fn section(&self, name: &str) -> Option<InfoSection<'_>> {
        let name = name.to_ascii_lowercase();
        self.sections.iter().find(|(title, _)| *title == name).map(|(_, fields)| InfoSection { fields })
    }

    /// All sections with their names in lower case.
    pub fn sections(&self) -> impl Iterator<Item = (&str, InfoSection<'_>)> {
        self.sections.iter().map(|(title, fields)| (title.as_str(), InfoSection { fields }))
    }

    /// The first field with that name, whatever its section.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.sections().find_map(|(_, section)| section.get(field))
    }

    /// The same, parsed; none when it is missing or something else.
    #[must_use]
    pub fn number<T: FromStr>(&self, field: &str) -> Option<T> {
        self.get(field)?.parse().ok()
    }
}

impl<'a> InfoSection<'a> {
    /// A field's value.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&'a str> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }

    /// The same, parsed; none when it is missing or something else.
    #[must_use]
    pub fn number<T: FromStr>(&self, field: &str) -> Option<T> {
        self.get(field)?.parse().ok()
    }

    /// All fields in the server's order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromValue for Info {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        Ok(Self::parse(&text(reader)?))
    }
}
