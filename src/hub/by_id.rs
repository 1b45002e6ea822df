//! What is kept for each connection.

/// Values by the id of a connection. Ids grow, so that a new one goes to the end of the list; a tree
/// would be larger in the image, and is no faster for as many as there are.
#[derive(Debug)]
pub struct ById<T>(Vec<(u32, T)>);

impl<T> ById<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That of `id`.
    pub fn get(&self, id: u32) -> Option<&T> {
        let at = self.find(id).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Gives the one that `id` had.
    pub fn insert(&mut self, id: u32, value: T) -> Option<T> {
        match self.find(id) {
            Ok(at) => self.0.get_mut(at).map(|(_, before)| std::mem::replace(before, value)),
            Err(at) => {
                self.0.insert(at, (id, value));
                None
            }
        }
    }

    /// Takes that of `id` out.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        self.find(id).ok().map(|at| self.0.remove(at).1)
    }

    /// Leaves those for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.0.retain(|(id, _)| keep(*id));
    }

    /// All, by id.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id)
    }
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_ids() {
        let mut all = ById::default();
        for id in [100, 102, 101, 7] {
            assert_eq!(all.insert(id, id * 2), None);
        }
        assert_eq!(all.insert(101, 1), Some(202));
        assert_eq!(all.values().copied().collect::<Vec<_>>(), [14, 200, 1, 204]);
        assert_eq!((all.get(7), all.get(8)), (Some(&14), None));
        assert_eq!((all.remove(100), all.remove(100)), (Some(200), None));
        all.retain(|id| id != 102);
        assert_eq!((all.len(), all.is_empty()), (2, false));
    }
}
