//! JSON objects alone: left to itself, a structure is read from a list of its values too.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What an object with these keys means.
#[derive(Debug)]
pub struct Object<Meant>(pub Meant);

struct ObjectVisitor<Meant>(PhantomData<Meant>);

impl<'de, Meant: Deserialize<'de>> Visitor<'de> for ObjectVisitor<Meant> {
    type Value = Object<Meant>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<Pairs: MapAccess<'de>>(self, pairs: Pairs) -> Result<Self::Value, Pairs::Error> {
        Meant::deserialize(MapAccessDeserializer::new(pairs)).map(Object)
    }
}

impl<'de, Meant: Deserialize<'de>> Deserialize<'de> for Object<Meant> {
    fn deserialize<Source: Deserializer<'de>>(source: Source) -> Result<Self, Source::Error> {
        source.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads an object, or says why it is none.
pub fn parse_object<'body, Meant: Deserialize<'body>>(body: &'body [u8]) -> Result<Meant, String> {
    let Object(meant) = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok(meant)
}
