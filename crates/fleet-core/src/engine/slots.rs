//! A table whose rows keep their number while they exist, so that indexes can hold numbers instead of names.

use std::ops::{Index, IndexMut};

/// The number of a row: of a unit, a machine, a pattern, a metadata pair.
pub(super) type Slot = u32;

#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    rows: Vec<Option<T>>,
    free: Vec<Slot>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { rows: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts a row into the first slot that is free.
    pub(super) fn insert(&mut self, row: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.rows[slot as usize] = Some(row);
            return slot;
        }
        let slot = Slot::try_from(self.rows.len()).expect("fewer than 2^32 rows");
        self.rows.push(Some(row));
        slot
    }

    /// Takes the row away; its slot is given out again.
    pub(super) fn remove(&mut self, slot: Slot) -> T {
        self.free.push(slot);
        self.rows[slot as usize].take().expect("the slot is in use")
    }

    /// All rows with their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.rows.iter().enumerate().filter_map(|(idx, row)| {
            let slot = Slot::try_from(idx).expect("fewer than 2^32 rows");
            row.as_ref().map(|row| (slot, row))
        })
    }

    /// All rows with their slots, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        self.rows.iter_mut().enumerate().filter_map(|(idx, row)| {
            let slot = Slot::try_from(idx).expect("fewer than 2^32 rows");
            row.as_mut().map(|row| (slot, row))
        })
    }
}

impl<T> Index<Slot> for Slots<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        self.rows[slot as usize].as_ref().expect("the slot is in use")
    }
}

impl<T> IndexMut<Slot> for Slots<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        self.rows[slot as usize].as_mut().expect("the slot is in use")
    }
}
