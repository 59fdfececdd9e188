//! Named fields of a reply.

use romaine_resp::Value;

/// A field of a map, or of a flat array of names and values.
pub(super) fn field(value: &Value, name: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| key.as_str() == Some(name)).and_then(|(_, value)| text(value))
        }
        flat => {
            let pair = flat.as_elements()?.chunks_exact(2).find(|pair| pair[0].as_str() == Some(name))?;
            text(&pair[1])
        }
    }
}
