use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use romaine_resp::{FrameKind, Limits, Reader, ServerError, Value};

use crate::properties::{Framing, cuts_change_nothing, frame, frame_input, reader_input};

/// A value and one way to write it; the crate itself only writes requests.
#[derive(Debug, Clone)]
struct Sample {
    value: Value,
    wire: Vec<u8>,
}

fn line(kind: char, text: &str, value: Value) -> Sample {
    Sample { value, wire: format!("{kind}{text}\r\n").into_bytes() }
}

fn blob(kind: char, data: &[u8], value: Value) -> Sample {
    Sample { value, wire: [format!("{kind}{}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat() }
}

fn many(kind: char, count: usize, samples: &[Sample], value: Value) -> Sample {
    let mut wire = format!("{kind}{count}\r\n").into_bytes();
    samples.iter().for_each(|sample| wire.extend_from_slice(&sample.wire));
    Sample { value, wire }
}

fn values(samples: &[Sample]) -> Vec<Value> {
    samples.iter().map(|sample| sample.value.clone()).collect()
}

fn pairs(samples: &[Sample]) -> Vec<(Value, Value)> {
    samples.as_chunks::<2>().0.iter().map(|[key, value]| (key.value.clone(), value.value.clone())).collect()
}

fn leaf() -> impl Strategy<Value = Sample> {
    let text = "[ -~]{0,40}";
    prop_oneof![
        text.prop_map(|text| line('+', &text, Value::Simple(Bytes::from(text.clone())))),
        text.prop_map(|text| line('-', &text, Value::Error(ServerError::new(text.as_bytes())))),
        any::<i64>().prop_map(|n| line(':', &n.to_string(), Value::Integer(n))),
        (-3..200_i64).prop_map(|n| line(':', &n.to_string(), Value::Integer(n))),
        prop::num::f64::ANY.prop_filter("NaN is not equal to itself", |n| !n.is_nan()).prop_map(|n| line(
            ',',
            &n.to_string(),
            Value::Double(n)
        )),
        any::<bool>().prop_map(|b| line('#', if b { "t" } else { "f" }, Value::Boolean(b))),
        "-?[0-9]{1,60}".prop_map(|text| line('(', &text, Value::BigNumber(Bytes::from(text.clone())))),
        prop_oneof![Just("_\r\n"), Just("$-1\r\n"), Just("*-1\r\n")]
            .prop_map(|wire| Sample { value: Value::Null, wire: wire.into() }),
        vec(any::<u8>(), 0..120).prop_map(|data| blob('$', &data, Value::Bulk(Bytes::from(data.clone())))),
        vec(any::<u8>(), 900..1_100).prop_map(|data| blob('$', &data, Value::Bulk(Bytes::from(data.clone())))),
        text.prop_map(|text| blob('!', text.as_bytes(), Value::Error(ServerError::new(text.as_bytes())))),
        text.prop_map(|text| {
            let data = format!("txt:{text}");
            blob('=', data.as_bytes(), Value::Bulk(Bytes::from(text)))
        }),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        let elements = vec(inner.clone(), 0..6);
        prop_oneof![
            elements.clone().prop_map(|all| many('*', all.len(), &all, Value::Array(values(&all)))),
            elements.clone().prop_map(|all| many('~', all.len(), &all, Value::Set(values(&all)))),
            elements.clone().prop_map(|all| many('>', all.len(), &all, Value::Push(values(&all)))),
            elements.clone().prop_map(|mut all| {
                all.truncate(all.len() / 2 * 2);
                many('%', all.len() / 2, &all, Value::Map(pairs(&all)))
            }),
            // An attribute before the value.
            (elements, inner).prop_map(|(mut all, described)| {
                all.truncate(all.len() / 2 * 2);
                let count = all.len() / 2;
                all.push(described.clone());
                many('|', count, &all, described.value)
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_value_frames_whole_and_reads_back(
        samples in vec(sample(), 1..4),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let wire: Vec<u8> = samples.iter().flat_map(|sample| sample.wire.iter().copied()).collect();
        let frames = samples.iter().map(|sample| {
            let is_push = matches!(sample.value, Value::Push(_));
            (sample.wire.len(), if is_push { FrameKind::Push } else { FrameKind::Reply })
        });
        let framing = frame(&wire, [], Limits::default());
        prop_assert_eq!(&framing, &Framing { frames: frames.collect(), end: framing.end });

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.sort_unstable();
        cuts_change_nothing(&wire, cuts, Limits::default());

        let shared = Bytes::from(wire.clone());
        let (mut reader, mut sharing, mut skipping) = (Reader::new(&wire), Reader::shared(&shared), Reader::new(&wire));
        for sample in &samples {
            prop_assert_eq!(reader.value(), Ok(sample.value.clone()));
            prop_assert_eq!(sharing.value(), Ok(sample.value.clone()));
            prop_assert_eq!(skipping.skip(), Ok(()));
            prop_assert_eq!(skipping.position(), reader.position());
        }
        prop_assert!(reader.is_at_end() && sharing.is_at_end() && skipping.is_at_end());
    }

    #[test]
    fn a_frame_with_a_byte_changed_never_panics_and_never_divides_the_two(
        sample in sample(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"+-:$*_,#!=(%~>|\r\n0123456789"[..])],
        cut in any::<prop::sample::Index>(),
    ) {
        let mut wire = sample.wire;
        let at = at.index(wire.len());
        wire[at] = byte;
        reader_input(&wire);
        cuts_change_nothing(&wire, [cut.index(wire.len())], Limits::default());
    }

    #[test]
    fn random_bytes_never_panic(wire in vec(any::<u8>(), 0..200)) {
        reader_input(&wire);
        frame_input(&wire);
    }

    #[test]
    fn random_bytes_of_the_alphabet_never_panic(
        wire in vec(prop::sample::select(&b"+-:$*_,#!=(%~>|\r\r\r\n\n\n00112349t"[..]), 0..60),
    ) {
        reader_input(&wire);
        frame_input(&wire);
    }
}
