//! The area of a GEOSEARCH.

use crate::arg::{ArgWriter, ToArg};
use crate::generated::options::Unit;

/// The area around the centre of a GEOSEARCH.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GeoShape {
    /// A circle.
    Radius(f64, Unit),
    /// A rectangle along the axes: width, height.
    Box(f64, f64, Unit),
}

/// Several arguments: `BYRADIUS radius unit` or `BYBOX width height unit`.
impl ToArg for GeoShape {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        match self {
            Self::Radius(radius, unit) => {
                out.write(b"BYRADIUS");
                radius.write_to(out);
                unit.write_to(out);
            }
            Self::Box(width, height, unit) => {
                out.write(b"BYBOX");
                width.write_to(out);
                height.write_to(out);
                unit.write_to(out);
            }
        }
    }
}
