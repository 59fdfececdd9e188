//! What can stand where a command takes several arguments: a list, a map, or just one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::arg::{ArgWriter, ToArg};

/// `N` arguments that belong together: one element of a list.
///
/// Every [`ToArg`] is a group of one, `(field, value)` a group of two, `(longitude, latitude, member)` one of three.
pub trait ArgGroup<const N: usize> {
    /// Writes exactly `N` arguments.
    fn write_group(&self, out: &mut ArgWriter<'_>);
}

impl<T: ToArg> ArgGroup<1> for T {
    #[inline]
    fn write_group(&self, out: &mut ArgWriter<'_>) {
        self.write_to(out);
    }
}

macro_rules! groups {
    ($($n:literal: $($name:ident $index:tt)+;)*) => {$(
        impl<$($name: ToArg),+> ArgGroup<$n> for ($($name,)+) {
            #[inline]
            fn write_group(&self, out: &mut ArgWriter<'_>) {
                $(self.$index.write_to(out);)+
            }
        }

        impl<$($name: ToArg),+> ArgGroup<$n> for &($($name,)+) {
            #[inline]
            fn write_group(&self, out: &mut ArgWriter<'_>) {
                $(self.$index.write_to(out);)+
            }
        }

        impl<$($name: ToArg),+> ToArgs<$n> for ($($name,)+) {
            #[inline]
            fn write_args(self, out: &mut ArgWriter<'_>) {
                self.write_group(out);
            }
        }
    )*};
}

groups! {
    2: A 0 B 1;
    3: A 0 B 1 C 2;
    4: A 0 B 1 C 2 D 3;
}

/// Arguments in groups of `N`, as many as the caller has.
///
/// One group, arrays, slices, vectors, sets, maps (groups of two), and any iterator inside [`Many`]. Bytes are one
/// argument, never a list of numbers: `Vec<u8>`, `[u8]` and `[u8; N]` are strings here as everywhere.
///
/// ```
/// use romaine_commands::{Many, cmd};
/// # use std::collections::HashMap;
/// let _ = cmd::<i64>("DEL").args("one key");
/// let _ = cmd::<i64>("DEL").args(["a", "b"]);
/// let _ = cmd::<i64>("DEL").args(Many((0..3).map(|n| format!("key:{n}"))));
/// let _ = cmd::<()>("MSET").args([("a", 1), ("b", 2)]);
/// let _ = cmd::<()>("MSET").args(&HashMap::from([("a", "x")]));
/// ```
pub trait ToArgs<const N: usize = 1> {
    /// Writes all arguments.
    fn write_args(self, out: &mut ArgWriter<'_>);
}

impl<T: ToArg> ToArgs<1> for T {
    #[inline]
    fn write_args(self, out: &mut ArgWriter<'_>) {
        self.write_to(out);
    }
}

/// No arguments: the keys of a script that has none.
impl<const N: usize> ToArgs<N> for () {
    fn write_args(self, _out: &mut ArgWriter<'_>) {}
}

/// Any iterator as arguments.
#[derive(Debug, Clone, Copy)]
pub struct Many<I>(pub I);

impl<const N: usize, I: IntoIterator<Item: ArgGroup<N>>> ToArgs<N> for Many<I> {
    fn write_args(self, out: &mut ArgWriter<'_>) {
        for group in self.0 {
            group.write_group(out);
        }
    }
}

macro_rules! lists {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        impl<const N: usize, T: ArgGroup<N>, $($generics)*> ToArgs<N> for $type {
            fn write_args(self, out: &mut ArgWriter<'_>) {
                for group in &self {
                    group.write_group(out);
                }
            }
        }

        impl<const N: usize, T: ArgGroup<N>, $($generics)*> ToArgs<N> for &$type {
            fn write_args(self, out: &mut ArgWriter<'_>) {
                for group in self {
                    group.write_group(out);
                }
            }
        }
    )*};
}

lists! {
    [] Vec<T>;
    [] VecDeque<T>;
    [const L: usize] [T; L];
    [S] HashSet<T, S>;
    [] BTreeSet<T>;
}

impl<const N: usize, T: ArgGroup<N>> ToArgs<N> for &[T] {
    fn write_args(self, out: &mut ArgWriter<'_>) {
        for group in self {
            group.write_group(out);
        }
    }
}

macro_rules! maps {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        impl<K: ToArg, V: ToArg, $($generics)*> ToArgs<2> for $type {
            fn write_args(self, out: &mut ArgWriter<'_>) {
                (&self).write_args(out);
            }
        }

        impl<K: ToArg, V: ToArg, $($generics)*> ToArgs<2> for &$type {
            fn write_args(self, out: &mut ArgWriter<'_>) {
                for (key, value) in self {
                    key.write_to(out);
                    value.write_to(out);
                }
            }
        }
    )*};
}

maps! {
    [S] HashMap<K, V, S>;
    [] BTreeMap<K, V>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::cmd;
    use crate::{Command, Request};

    fn sent<const N: usize>(args: impl ToArgs<N>) -> Vec<String> {
        let request: Request = cmd::<()>("X").args(args).into_request();
        request.args().skip(1).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    #[test]
    fn bytes_are_one_argument_however_they_are_held() {
        assert_eq!(sent(b"abc"), ["abc"]);
        assert_eq!(sent(*b"abc"), ["abc"]);
        assert_eq!(sent(&b"abc"[..]), ["abc"]);
        let bytes = b"abc".to_vec();
        assert_eq!(sent(&bytes), ["abc"]);
        assert_eq!(sent(bytes), ["abc"]);
        assert_eq!(sent([b"abc", b"def"]), ["abc", "def"]);
        assert_eq!(sent(vec![b"abc".to_vec(), b"d".to_vec()]), ["abc", "d"]);
    }

    #[test]
    fn lists_are_as_many_arguments_as_elements() {
        assert_eq!(sent("a"), ["a"]);
        assert_eq!(sent(String::from("a")), ["a"]);
        assert_eq!(sent(7), ["7"]);
        assert_eq!(sent(["a", "b"]), ["a", "b"]);
        let (array, list, set) =
            ([String::from("a"), String::from("b")], vec![String::from("x")], BTreeSet::from(["x", "y"]));
        assert_eq!(sent(&array), ["a", "b"]);
        assert_eq!(sent(&list), ["x"]);
        assert_eq!(sent(&set), ["x", "y"]);
        assert_eq!((array.len(), list.len(), set.len()), (2, 1, 2));
        assert_eq!(sent(&["a", "b"][..]), ["a", "b"]);
        assert_eq!(sent(vec![1, 2, 3]), ["1", "2", "3"]);
        assert_eq!(sent(BTreeSet::from(["x", "y"])), ["x", "y"]);
        assert_eq!(sent(Many((0..2).map(|n| n.to_string()))), ["0", "1"]);
        assert_eq!(sent(Vec::<String>::new()), [""; 0]);
    }

    #[test]
    fn pairs_and_maps_are_groups_of_two() {
        assert_eq!(sent(("a", 1)), ["a", "1"]);
        assert_eq!(sent([("a", 1), ("b", 2)]), ["a", "1", "b", "2"]);
        let (list, map) = (vec![("a", b"x".to_vec())], HashMap::from([("k", 2.5)]));
        assert_eq!(sent(&list), ["a", "x"]);
        assert_eq!(sent(&map), ["k", "2.5"]);
        assert_eq!((list.len(), map.len()), (1, 1));
        assert_eq!(sent(Many(BTreeMap::from([("k", "v")]))), ["k", "v"]);
        assert_eq!(sent(Many([("k", "v")].iter())), ["k", "v"]);
        assert_eq!(sent((1.5, 2.5, "here")), ["1.5", "2.5", "here"]);
    }

    #[test]
    fn a_count_goes_before_its_arguments() {
        let request = cmd::<i64>("X").arg("first").counted_args(["a", "b"]).arg("last").into_request();
        let args: Vec<_> = request.args().collect();
        assert_eq!(args, [&b"X"[..], b"first", b"2", b"a", b"b", b"last"]);
        assert_eq!(request.arg_count(), 6);
        let long = vec!["x".repeat(100); 12];
        let request = cmd::<i64>("X").counted_args(&long).into_request();
        assert_eq!(request.arg(1), Some(&b"12"[..]));
        assert_eq!(request.args().count(), 14);
        let request = cmd::<i64>("X").counted_args([("a", 1), ("b", 2)]).into_request();
        assert_eq!(request.arg(1), Some(&b"2"[..]));
    }
}
