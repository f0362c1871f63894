//! Content ids of many images, twenty bytes each.

/// Which image has which content id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Of each image, in their order.
    numbers: Vec<u128>,
    /// Places in that list by ascending id, and images of one id in their order.
    order: Vec<u32>,
}

impl Ids {
    /// `numbers`: of each image the number of its id ([`crate::SampleId::number`]). Images past 2^32 are not found.
    #[must_use]
    pub fn new(numbers: Vec<u128>) -> Self {
        let mut order: Vec<u32> = (0..=u32::MAX).take(numbers.len()).collect();
        order.sort_unstable_by_key(|&i| (numbers[i as usize], i));
        Self { numbers, order }
    }

    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The place of the image with this id, of several the first; None if there is none.
    #[must_use]
    pub fn find(&self, number: u128) -> Option<usize> {
        let smaller = |&i: &u32| self.numbers[i as usize] < number;
        let &i = self.order.get(self.order.partition_point(smaller))?;
        (self.numbers[i as usize] == number).then_some(i as usize)
    }

    /// Places and ids' numbers, by ascending id.
    pub(crate) fn ascending(&self) -> impl Iterator<Item = (usize, u128)> {
        let order = self.order.iter();
        order.map(move |&i| (i as usize, self.numbers[i as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_their_ids() {
        let numbers = vec![7, 1, u128::MAX, 7, 0];
        let ids = Ids::new(numbers.clone());
        assert_eq!(ids.len(), 5);
        for (i, &number) in numbers.iter().enumerate() {
            // Of two with one id the first.
            assert_eq!(ids.find(number), Some(if i == 3 { 0 } else { i }));
        }
        for absent in [2, 8, u128::MAX - 1] {
            assert_eq!(ids.find(absent), None);
        }
        let places: Vec<usize> = ids.ascending().map(|(place, _)| place).collect();
        assert_eq!(places, [4, 1, 0, 3, 2]);
        assert!(Ids::new(vec![]).is_empty() && Ids::default().find(0).is_none());
    }
}
