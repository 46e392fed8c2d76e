// As much MessagePack as the suite needs: maps of short names to whole numbers.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace messagepack {

inline std::string map_of(const std::string& name, std::uint32_t value) {
  std::string out = {'\x81', static_cast<char>(0xa0 | name.size())};
  out += name;
  out += '\xce';
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) {}

  std::size_t array() { return head(0x90, 0xdc); }
  std::size_t map() { return head(0x80, 0xde); }

  std::string text() {
    const std::size_t size = byte() & 0x1f;
    at_ += size;
    return text_.substr(at_ - size, size);
  }

  long number() {
    const unsigned kind = byte();
    if (kind < 0x80) return kind;
    if (kind >= 0xcc && kind <= 0xcf) return static_cast<long>(big_endian(1u << (kind - 0xcc)));
    throw std::runtime_error("not a whole number");
  }

  void nil() {
    if (byte() != 0xc0) throw std::runtime_error("not nil");
  }

 private:
  unsigned byte() { return static_cast<unsigned char>(text_.at(at_++)); }

  std::uint64_t big_endian(unsigned bytes) {
    std::uint64_t value = 0;
    while (bytes-- > 0) value = value << 8 | byte();
    return value;
  }

  std::size_t head(unsigned small, unsigned large) {
    const unsigned kind = byte();
    if ((kind & 0xf0) == small) return kind & 0x0f;
    if (kind != large) throw std::runtime_error("neither an array nor a map");
    return big_endian(2);
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

// The payloads of a batch: an array of [payload, headers or nil].
inline std::vector<std::map<std::string, long>> payloads(const std::string& items) {
  Reader reader(items);
  std::vector<std::map<std::string, long>> found(reader.array());
  for (auto& payload : found) {
    reader.array();
    for (std::size_t left = reader.map(); left > 0; --left) {
      const std::string name = reader.text();
      payload[name] = reader.number();
    }
    reader.nil();
  }
  return found;
}

}  // namespace messagepack
