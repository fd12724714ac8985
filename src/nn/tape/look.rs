//! Looks: views of tensors.

/// Elements of a tensor in the order of a shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub(super) tensor: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) offset: usize,
}

/// Strides of a shape whose elements lie one after the other.
pub(super) fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d].max(1);
    }
    strides
}

impl Look {
    pub(super) fn whole(tensor: usize, shape: &[usize]) -> Self {
        Self { tensor, shape: shape.to_vec(), strides: contiguous(shape), offset: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether elements lie one after the other.
    pub(super) fn is_contiguous(&self) -> bool {
        let strides = contiguous(&self.shape);
        self.len() == 0 || (0..self.shape.len()).all(|d| self.shape[d] == 1 || self.strides[d] == strides[d])
    }

    /// Along a shape that it fits by broadcasting; nothing if it does not.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let more = shape.len().checked_sub(self.shape.len())?;
        let mut strides = vec![0; more];
        for (d, &size) in self.shape.iter().enumerate() {
            match shape[more + d] {
                _ if size == 1 => strides.push(0),
                wanted if wanted == size => strides.push(self.strides[d]),
                _ => return None,
            }
        }
        Some(Self { tensor: self.tensor, shape: shape.to_vec(), strides, offset: self.offset })
    }
}

/// The shape that two shapes are broadcast to.
pub(super) fn common(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let len = a.len().max(b.len());
    let size = |shape: &[usize], d: usize| (d + shape.len()).checked_sub(len).map_or(1, |d| shape[d]);
    (0..len)
        .map(|d| match (size(a, d), size(b, d)) {
            (1, size) | (size, 1) => Some(size),
            (a, b) => (a == b).then_some(a),
        })
        .collect()
}
