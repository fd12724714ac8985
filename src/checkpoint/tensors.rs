//! Named tensors in memory.

use super::bytes::Bytes;
use crate::error::{Error, Result};
use crate::memory::LARGE;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::thread;

/// How the elements of a tensor lie in memory, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// Floats of 64 bits.
    F64,
    /// Floats of 32 bits.
    F32,
    /// Floats of 16 bits, IEEE's.
    F16,
    /// Floats of 16 bits with the exponent of 32.
    Bf16,
    /// Whole numbers of 64 bits with a sign.
    I64,
    /// Whole numbers of 32 bits with a sign.
    I32,
    /// Whole numbers of 64 bits.
    U64,
    /// Whole numbers of 32 bits.
    U32,
    /// Whole numbers of 8 bits.
    U8,
    /// True or false, a byte each.
    Bool,
}

/// The name of each type in safetensors.
const NAMES: [(Dtype, &str); 10] = [
    (Dtype::F64, "F64"),
    (Dtype::F32, "F32"),
    (Dtype::F16, "F16"),
    (Dtype::Bf16, "BF16"),
    (Dtype::I64, "I64"),
    (Dtype::I32, "I32"),
    (Dtype::U64, "U64"),
    (Dtype::U32, "U32"),
    (Dtype::U8, "U8"),
    (Dtype::Bool, "BOOL"),
];

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 | Self::Bool => 1,
        }
    }

    /// The name in a file.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(dtype, _)| *dtype == self).map_or("", |(_, name)| name)
    }

    /// Whether its elements are floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The type that has this name in a file.
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(dtype, _)| *dtype)
    }
}

/// A Rust type of elements.
pub trait Element: bytemuck::Pod {
    /// Its name in files.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($element:ty: $dtype:ident),*) => {
        $(impl Element for $element {
            const DTYPE: Dtype = Dtype::$dtype;
        })*
    };
}

elements!(f64: F64, f32: F32, i64: I64, i32: I32, u64: U64, u32: U32, u8: U8);

/// One tensor: its type, shape and bytes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredTensor {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape; empty for a number.
    pub shape: Vec<usize>,
    /// Its elements, row by row, little-endian.
    pub bytes: Bytes,
}

impl StoredTensor {
    /// # Errors
    /// [`Error::Shape`] if shape and bytes do not fit; `name` is for the message.
    pub fn new(name: &str, dtype: Dtype, shape: &[usize], bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes_of(dtype, shape) != Some(bytes.len()) {
            let expected = format!("bytes of shape {shape:?} in {}", dtype.name());
            return Err(Error::shape(format!("tensor '{name}'"), expected, format!("{} bytes", bytes.len())));
        }
        Ok(Self { dtype, shape: shape.into(), bytes })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements as numbers, in their order; true is 1. Whole numbers of 64 bits beyond 2⁵³ are rounded.
    pub fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        let number = number_of(self.dtype);
        self.bytes.chunks_exact(self.dtype.size()).map(number)
    }

    /// The place of the first element that is infinite or NaN.
    pub fn first_not_finite(&self) -> Option<usize> {
        if !self.dtype.is_float() || self.bytes.known_finite(self.dtype) {
            return None;
        }
        let (size, number) = (self.dtype.size(), number_of(self.dtype));
        let start = BLOCK * self.bytes.chunks(BLOCK * size).position(|block| !all_finite(self.dtype, block))?;
        let place = self.bytes[start * size..].chunks_exact(size).position(|x| !number(x).is_finite());
        place.map(|place| start + place)
    }
}

/// The bytes of a tensor, if a machine can count them.
fn bytes_of(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |len, &side| len.checked_mul(side))
}

/// Elements that are looked at together, without a branch for each: a large tensor takes no longer than reading its memory.
const BLOCK: usize = 4096;

/// Whether all floats are finite: an infinity and NaN have all bits of the exponent set.
pub(super) fn all_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    fn all<const N: usize>(bytes: &[u8], finite: impl Fn([u8; N]) -> bool) -> bool {
        bytes.as_chunks().0.iter().fold(true, |all, &x| all & finite(x))
    }
    match dtype {
        Dtype::F64 => all(bytes, |x| f64::from_le_bytes(x).is_finite()),
        Dtype::F32 => all(bytes, |x| f32::from_le_bytes(x).is_finite()),
        Dtype::F16 => all(bytes, |x| half::f16::from_le_bytes(x).is_finite()),
        Dtype::Bf16 => all(bytes, |x| half::bf16::from_le_bytes(x).is_finite()),
        _ => true,
    }
}

/// How the bytes of an element become a number.
fn number_of(dtype: Dtype) -> fn(&[u8]) -> f64 {
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        array
    }
    match dtype {
        Dtype::F64 => |x| f64::from_le_bytes(array(x)),
        Dtype::F32 => |x| f32::from_le_bytes(array(x)).into(),
        Dtype::F16 => |x| half::f16::from_le_bytes(array(x)).into(),
        Dtype::Bf16 => |x| half::bf16::from_le_bytes(array(x)).into(),
        Dtype::I64 => |x| i64::from_le_bytes(array(x)) as f64,
        Dtype::I32 => |x| i32::from_le_bytes(array(x)).into(),
        Dtype::U64 => |x| u64::from_le_bytes(array(x)) as f64,
        Dtype::U32 => |x| u32::from_le_bytes(array(x)).into(),
        Dtype::U8 | Dtype::Bool => |x| x[0].into(),
    }
}

/// Named tensors and texts. Names are in alphabetical order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tensors {
    /// Information about the tensors, by name.
    pub texts: BTreeMap<String, String>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Tensors {
    /// A copy with the texts alone.
    pub(super) fn texts_alone(&self) -> Self {
        Self { texts: self.texts.clone(), tensors: BTreeMap::new() }
    }

    /// Gives the memory back, large memory on a thread of its own: the system takes long to do so. For as long, it has less to
    /// give to others.
    pub(crate) fn free(self) {
        if self.tensors.values().any(|tensor| tensor.bytes.len() >= LARGE) {
            // Without a thread they go here.
            let _ = thread::Builder::new().name("free".into()).spawn(move || drop(self));
        }
    }

    /// Adds a tensor, or replaces the one of that name.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many values as the shape has elements; a name that files keep for texts.
    pub fn put<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) -> Result<()> {
        self.put_parts(name, shape, &[values])
    }

    /// [`Tensors::put`] for values that lie in several places, one after the other, such as those of lanes.
    ///
    /// # Errors
    /// As for [`Tensors::put`].
    pub fn put_parts<T: Element>(&mut self, name: &str, shape: &[usize], parts: &[impl AsRef<[T]>]) -> Result<()> {
        let mut bytes = Bytes::zeros(name, parts.iter().map(|part| size_of_val(part.as_ref())).sum())?;
        let mut rest = &mut bytes[..];
        for part in parts {
            let (own, behind) = rest.split_at_mut(size_of_val(part.as_ref()));
            own.copy_from_slice(bytemuck::cast_slice(part.as_ref()));
            rest = behind;
        }
        swap(&mut bytes, size_of::<T>());
        self.insert(name, StoredTensor::new(name, T::DTYPE, shape, bytes)?)
    }

    /// Takes out a tensor of that name to be overwritten, in memory that is there if it has the right length.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn room<T: Element>(&mut self, name: &str, shape: &[usize]) -> Result<StoredTensor> {
        let len = bytes_of(T::DTYPE, shape).unwrap_or(usize::MAX);
        let there = self.tensors.remove(name).map(|tensor| tensor.bytes).filter(|bytes| bytes.len() == len);
        let bytes = there.map_or_else(|| Bytes::zeros(name, len), Ok)?;
        Ok(StoredTensor { dtype: T::DTYPE, shape: shape.into(), bytes })
    }

    /// All tensors of floats with elements of another type, each rounded to the nearest; a number beyond the range of the type
    /// becomes infinite. Loading casts nothing, so weights in 16 bits have to go through here for an engine in 32.
    ///
    /// # Errors
    /// [`Error::Shape`] if `T` is not a type of floats; too little memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::checkpoint::Tensors;
    ///
    /// let mut weights = Tensors::default();
    /// weights.put("w", &[2], &[1.0f64, 0.1])?;
    /// weights.put("rows", &[1], &[7u64])?;
    /// let cast = weights.cast::<f32>()?;
    /// assert_eq!(cast.get::<f32>("w")?, [1.0, 0.1]);
    /// assert_eq!(cast.get::<u64>("rows")?, [7]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn cast<T: Element>(&self) -> Result<Self> {
        if !T::DTYPE.is_float() {
            return Err(Error::shape("type to cast to", "F64 or F32", T::DTYPE.name()));
        }
        let mut cast = self.texts_alone();
        for (name, tensor) in self.iter() {
            match (tensor.dtype.is_float() && tensor.dtype != T::DTYPE, T::DTYPE) {
                (false, _) => cast.insert(name, tensor.clone())?,
                (true, Dtype::F64) => cast.put(name, &tensor.shape, &tensor.numbers().collect::<Vec<f64>>())?,
                (true, _) => cast.put(name, &tensor.shape, &tensor.numbers().map(|x| x as f32).collect::<Vec<f32>>())?,
            }
        }
        Ok(cast)
    }

    /// Adds a tensor of any type, or replaces the one of that name.
    ///
    /// # Errors
    /// A name that files keep for texts.
    pub fn insert(&mut self, name: &str, tensor: StoredTensor) -> Result<()> {
        if name == "__metadata__" {
            return Err(Error::setting("name of a tensor", name, "any other: safetensors keeps this one for texts"));
        }
        self.tensors.insert(name.into(), tensor);
        Ok(())
    }

    /// The elements of a tensor. Nothing is cast: the type has to be that of the file.
    ///
    /// # Errors
    /// [`Error::NoTensor`] with the nearest names, or [`Error::Shape`] for another type.
    pub fn get<T: Element>(&self, name: &str) -> Result<Vec<T>> {
        self.view(name).map(Cow::into_owned)
    }

    /// [`Tensors::get`] without a copy, where the machine has numbers as files do.
    pub(crate) fn view<T: Element>(&self, name: &str) -> Result<Cow<'_, [T]>> {
        let tensor = self.tensor(name)?;
        if tensor.dtype != T::DTYPE {
            return Err(Error::shape(format!("type of tensor '{name}'"), T::DTYPE.name(), tensor.dtype.name()));
        }
        if cfg!(target_endian = "little") {
            return Ok(Cow::Borrowed(bytemuck::cast_slice(&tensor.bytes)));
        }
        let mut native = tensor.bytes.clone();
        swap(&mut native, size_of::<T>());
        Ok(Cow::Owned(bytemuck::cast_slice(&native).to_vec()))
    }

    /// A tensor by its name.
    ///
    /// # Errors
    /// [`Error::NoTensor`].
    pub fn tensor(&self, name: &str) -> Result<&StoredTensor> {
        self.tensor_of("the file", name)
    }

    /// A tensor by its name; an error calls the tensors `whole`.
    pub(super) fn tensor_of(&self, whole: &'static str, name: &str) -> Result<&StoredTensor> {
        self.tensors.get(name).ok_or_else(|| Error::no_tensor(whole, name, &self.names()))
    }

    /// The names of all tensors, in alphabetical order.
    pub(super) fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// The tensor of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<StoredTensor> {
        self.tensors.remove(name)
    }

    /// All tensors with their names, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

/// From the numbers of this machine to those of files, or back.
pub(crate) fn swap(bytes: &mut [u8], size: usize) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}
