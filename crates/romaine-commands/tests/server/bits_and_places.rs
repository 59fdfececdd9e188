use romaine_commands::commands::{BitOperation, GeoShape, Overflow, Unit};
use romaine_commands::{BitmapCommands, Executor, GeoCommands, HyperLogLogCommands, StringCommands, commands};

use super::*;

#[test]
fn bits_are_set_and_counted() {
    in_both_protocols(|link| {
        assert_eq!(link.setbit("b", 7, 1), Ok(false));
        assert_eq!(link.getbit("b", 7), Ok(true));
        assert_eq!(link.bitcount("b"), Ok(1));
        assert_eq!(link.issue(commands::bitcount_range("b", 0, 6).bit()), Ok(0));
        assert_eq!(link.bitcount_range("b", 0, 0), Ok(1));
        assert_eq!(link.bitpos("b", 1), Ok(7));
        assert_eq!(link.bitpos_range("b", 1, 0, 0), Ok(7));
        assert_eq!(link.bitop(BitOperation::Not, "n", "b"), Ok(1));
        assert_eq!(link.bitop(BitOperation::Or, "o", ["b", "n"]), Ok(1));
        assert_eq!(link.get::<Vec<u8>>("o"), Ok(Some(vec![0xff])));
        let ops =
            commands::bitfield("f").set("u8", 0, 250).overflow(Overflow::Fail).incrby("u8", 0, 10).get("u8", "#0");
        assert_eq!(link.issue(ops), Ok(vec![Some(0), None, Some(250)]));
        assert_eq!(link.issue(commands::bitfield_ro("f").get("u8", 0).get("u4", 4)), Ok(vec![250, 10]));
    });
}

#[test]
fn distinct_elements_are_counted() {
    in_both_protocols(|link| {
        assert_eq!(link.pfadd("p", ["a", "b"]), Ok(true));
        assert_eq!(link.pfadd("p", "a"), Ok(false));
        link.pfadd("q", "c").unwrap();
        assert_eq!(link.pfcount(["p", "q"]), Ok(3));
        link.pfmerge("r", ["p", "q"]).unwrap();
        assert_eq!(link.pfcount("r"), Ok(3));
    });
}

#[test]
fn places_are_found() {
    in_both_protocols(|link| {
        assert_eq!(link.geoadd("g", [(13.361_389, 38.115_556, "Palermo"), (15.087_269, 37.502_669, "Catania")]), Ok(2));
        let distance = link.geodist("g", "Palermo", "Catania", Unit::Km).unwrap().unwrap();
        assert!((distance - 166.27).abs() < 0.1);
        assert_eq!(link.geodist("g", "Palermo", "none", Unit::M), Ok(None));
        assert_eq!(link.geohash("g", ["Palermo", "none"]), Ok(vec![Some("sqc8b49rny0".to_owned()), None]));
        let positions = link.geopos("g", ["Palermo", "none"]).unwrap();
        assert!((positions[0].unwrap().0 - 13.36).abs() < 0.01);
        assert_eq!(positions[1], None);
        let near = GeoShape::Radius(100.0, Unit::Km);
        assert_eq!(link.geosearch("g", 15.0, 37.5, near), Ok(vec!["Catania".to_owned()]));
        let wide = GeoShape::Box(400.0, 400.0, Unit::Km);
        assert_eq!(link.issue(commands::geosearch_by_member::<String>("g", "Palermo", wide).asc()).unwrap().len(), 2);
        let all = commands::geosearch_matches::<String>("g", 15.0, 37.5, wide).withcoord().withdist().withhash().desc();
        let matches = link.issue(all).unwrap();
        assert_eq!(matches[0].member, "Palermo");
        assert!(matches[0].distance.is_some() && matches[0].hash.is_some() && matches[0].position.is_some());
        let plain = link.geosearch_matches_by_member::<String>("g", "Palermo", near).unwrap();
        assert_eq!((plain[0].member.as_str(), plain[0].distance), ("Palermo", None));
        assert_eq!(link.geosearchstore("d", "g", 15.0, 37.5, wide), Ok(2));
        assert_eq!(link.issue(commands::geosearchstore_by_member("d", "g", "Palermo", near).storedist()), Ok(1));
    });
}
