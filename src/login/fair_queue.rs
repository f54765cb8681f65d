//! A bounded queue in which sources take turns, so that one that asks a lot waits for itself.

use std::collections::VecDeque;

use crate::auth::throttle::Source;

/// After this many turns of favoured sources in a row, one of the others has its turn.
const FAVOURS_IN_A_ROW: u32 = 4;

/// Waiting items by source. Sources that have lately logged in are favoured: their turns come first.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    capacity: usize,
    len: usize,
    favoured: VecDeque<Lane<T>>,
    others: VecDeque<Lane<T>>,
    favours: u32,
}

#[derive(Debug)]
struct Lane<T> {
    source: Source,
    items: VecDeque<T>,
}

impl<T> FairQueue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, len: 0, favoured: VecDeque::new(), others: VecDeque::new(), favours: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes an item in. When the queue is full, the newest item of the source that holds most is given back: this
    /// one, where its own source does. Of sources that hold as much, one that is not favoured gives way.
    pub(super) fn push(&mut self, source: Source, favoured: bool, item: T) -> Option<T> {
        if favoured {
            self.promote(source);
        }
        let given_back = if self.len < self.capacity { None } else { Some(self.make_room(source, favoured)) };
        match given_back {
            Some(None) => return Some(item),
            Some(Some(_)) => {}
            None => self.len += 1,
        }
        let mut lanes = self.favoured.iter_mut().chain(&mut self.others);
        match lanes.find(|lane| lane.source == source) {
            Some(lane) => lane.items.push_back(item),
            None => {
                let lanes = if favoured { &mut self.favoured } else { &mut self.others };
                lanes.push_back(Lane { source, items: VecDeque::from([item]) });
            }
        }
        given_back.flatten()
    }

    /// The next item: one of each source in turn.
    pub(super) fn pop(&mut self) -> Option<T> {
        let others_turn = self.favours >= FAVOURS_IN_A_ROW && !self.others.is_empty();
        let from_favoured = !self.favoured.is_empty() && !others_turn;
        self.favours = if from_favoured { self.favours + 1 } else { 0 };
        let lanes = if from_favoured { &mut self.favoured } else { &mut self.others };
        let mut lane = lanes.pop_front()?;
        let item = lane.items.pop_front();
        if !lane.items.is_empty() {
            lanes.push_back(lane);
        }
        self.len -= usize::from(item.is_some());
        item
    }

    /// Takes out the item that fits, wherever it waits.
    pub(super) fn remove(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        for lanes in [&mut self.favoured, &mut self.others] {
            for at in 0..lanes.len() {
                if let Some(place) = lanes[at].items.iter().position(&fits) {
                    let item = lanes[at].items.remove(place);
                    if lanes[at].items.is_empty() {
                        lanes.remove(at);
                    }
                    self.len -= 1;
                    return item;
                }
            }
        }
        None
    }

    /// Moves what a source holds to the favoured ones: it has one lane, so that it is counted and served as one.
    fn promote(&mut self, source: Source) {
        if let Some(place) = self.others.iter().position(|lane| lane.source == source) {
            self.favoured.extend(self.others.remove(place));
        }
    }

    /// Takes out the newest item of the source that holds most, unless that is the one that wants a place.
    fn make_room(&mut self, source: Source, favoured: bool) -> Option<T> {
        let rank = |lane: &Lane<T>, favoured: bool| (lane.items.len(), !favoured);
        let of_favoured = self.favoured.iter().map(|lane| (rank(lane, true), lane.source));
        let of_others = self.others.iter().map(|lane| (rank(lane, false), lane.source));
        let lanes: Vec<_> = of_favoured.chain(of_others).collect();
        let own = lanes.iter().find(|(_, other)| *other == source);
        let own = own.map_or((1, !favoured), |((held, is_other), _)| (held + 1, *is_other));
        let (most, greediest) = lanes.into_iter().max_by_key(|(rank, _)| *rank)?;
        if most <= own {
            return None;
        }
        let lanes = if most.1 { &mut self.others } else { &mut self.favoured };
        let place = lanes.iter().position(|lane| lane.source == greediest)?;
        let newest = lanes[place].items.pop_back();
        if lanes[place].items.is_empty() {
            lanes.remove(place);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(last: u8) -> Source {
        Source::from(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn sources_take_turns() {
        let mut queue = FairQueue::new(10);
        for item in ["a1", "a2", "a3"] {
            assert_eq!(queue.push(source(1), false, item), None);
        }
        assert_eq!(queue.push(source(2), false, "b1"), None);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "a2", "a3"]);
    }

    #[test]
    fn those_that_lately_logged_in_come_first_and_starve_nobody() {
        let mut queue = FairQueue::new(20);
        for item in 0..8 {
            queue.push(source(1), true, item);
        }
        queue.push(source(2), false, 100);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 1, 2, 3, 100, 4, 5, 6, 7]);
    }

    #[test]
    fn when_full_the_newest_of_the_greediest_source_goes() {
        let mut queue = FairQueue::new(4);
        for item in ["a1", "a2", "a3"] {
            queue.push(source(1), false, item);
        }
        queue.push(source(2), false, "b1");
        assert_eq!(queue.push(source(3), false, "c1"), Some("a3"), "the greediest gives way");
        assert_eq!(queue.push(source(1), false, "a4"), Some("a4"), "and gets no more in");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2"]);
        assert_eq!(queue.len, 0);
    }

    #[test]
    fn among_equals_one_that_is_not_favoured_gives_way_to_one_that_is() {
        let mut queue = FairQueue::new(3);
        for (place, item) in [(1, "a1"), (2, "b1"), (3, "c1")] {
            assert_eq!(queue.push(source(place), false, item), None);
        }
        assert_eq!(queue.push(source(7), false, "d1"), Some("d1"), "a newcomer among equals");
        assert_eq!(queue.push(source(8), true, "e1"), Some("c1"), "but for a favoured one");
        assert_eq!(queue.push(source(8), true, "e2"), Some("e2"), "that holds no more than they");
        assert_eq!(queue.push(source(9), true, "f1"), Some("b1"));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["e1", "f1", "a1"]);
        assert_eq!((queue.len, queue.favoured.len(), queue.others.len()), (0, 0, 0));
    }

    #[test]
    fn a_source_that_becomes_favoured_is_counted_and_served_as_one() {
        let mut queue = FairQueue::new(6);
        for (place, favoured, item) in
            [(1, false, "a1"), (1, false, "a2"), (2, false, "b1"), (2, false, "b2"), (2, false, "b3"), (1, true, "a3")]
        {
            assert_eq!(queue.push(source(place), favoured, item), None);
        }
        assert_eq!(queue.push(source(1), false, "a4"), Some("a4"), "it would hold more than any other");
        assert_eq!(queue.push(source(3), false, "c1"), Some("b3"), "of equals the one that is not favoured");
        assert_eq!(queue.push(source(4), false, "d1"), Some("a3"), "the greediest, favoured or not");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "a2", "b1", "c1", "d1", "b2"]);
    }

    #[test]
    fn an_item_can_be_taken_out_of_the_middle() {
        let mut queue = FairQueue::new(4);
        queue.push(source(1), false, 1);
        queue.push(source(2), true, 2);
        assert_eq!(queue.remove(|item| *item == 1), Some(1));
        assert_eq!(queue.remove(|item| *item == 1), None);
        assert_eq!(queue.pop(), Some(2));
        assert_eq!(queue.pop(), None);
    }
}
