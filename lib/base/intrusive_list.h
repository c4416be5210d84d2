// A doubly linked list whose links live in its elements: no allocation, removal in constant time.
#pragma once

#include <cstddef>

#include "base/check.h"

namespace haul::base {

/// A base class of elements. An element is in at most one list per Tag; it must leave its list before it dies.
template <typename Tag>
class ListLink {
 public:
  bool linked() const noexcept { return owner_ != nullptr; }

 private:
  template <typename T, typename OtherTag>
  friend class IntrusiveList;
  ListLink* previous_ = nullptr;
  ListLink* next_ = nullptr;
  const void* owner_ = nullptr;
};

/// Never owns its elements.
template <typename T, typename Tag>
class IntrusiveList {
 public:
  IntrusiveList() = default;
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const noexcept { return first_ == nullptr; }
  size_t size() const noexcept { return size_; }
  T* front() const noexcept { return static_cast<T*>(first_); }
  /// The element behind `element`, or null.
  T* next(const T& element) const noexcept { return static_cast<T*>(static_cast<const ListLink<Tag>&>(element).next_); }

  void push_back(T& element) { insert(element, last_, nullptr); }
  void push_front(T& element) { insert(element, nullptr, first_); }

  void remove(T& element) {
    ListLink<Tag>& link = element;
    check(link.owner_ == this, "removal from a list the element is not in");
    (link.previous_ != nullptr ? link.previous_->next_ : first_) = link.next_;
    (link.next_ != nullptr ? link.next_->previous_ : last_) = link.previous_;
    link = ListLink<Tag>();
    --size_;
  }
  T* pop_front() {
    T* element = front();
    if (element != nullptr) remove(*element);
    return element;
  }

 private:
  void insert(T& element, ListLink<Tag>* previous, ListLink<Tag>* next) {
    ListLink<Tag>& link = element;
    check(!link.linked(), "an element enters a second list");
    link.previous_ = previous;
    link.next_ = next;
    link.owner_ = this;
    (previous != nullptr ? previous->next_ : first_) = &link;
    (next != nullptr ? next->previous_ : last_) = &link;
    ++size_;
  }

  ListLink<Tag>* first_ = nullptr;
  ListLink<Tag>* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace haul::base
