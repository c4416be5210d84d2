// Plots: plain SVG elements, no scripts.
#include "haul_bench/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace bench {

namespace {

constexpr double width = 640;
constexpr double height = 220;
constexpr double left = 64;
constexpr double right = 12;
constexpr double top = 28;
constexpr double bottom = 26;
constexpr std::array<std::string_view, 8> colours{"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e",
                                                  "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"};

/// A round number at or above: 1, 2 or 5 times a power of ten.
double round_up(double value) {
  if (!(value > 0)) return 1;
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0, 10.0}) {
    if (value <= step * power) return step * power;
  }
  return 10 * power;
}

std::string text(double x, double y, std::string_view anchor, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(content));
}

std::string open_svg(double w, double h, const std::string& title) {
  // A title is not cut off.
  constexpr double letter = 7;
  w = std::max(w, left + letter * static_cast<double>(title.size()));
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" width=\"{:.0f}\" role=\"img\">\n<title>{}</title>\n", w, h, w,
                     escaped(title)) +
         fmt::format("<text x=\"{:.0f}\" y=\"14\" font-weight=\"bold\">{}</text>\n", left, escaped(title));
}

std::string axes(double x_end, double y_end, const std::string& y_label) {
  std::string out;
  for (int i = 0; i <= 4; ++i) {
    const double y = height - bottom - (height - top - bottom) * i / 4;
    out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", left, y,
                       width - right, y);
    out += text(left - 6, y + 4, "end", fmt::format("{:.4g}", y_end * i / 4));
    const double x = left + (width - left - right) * i / 4;
    out += text(x, height - bottom + 16, "middle", fmt::format("{:.4g} s", x_end * i / 4));
  }
  return out + text(left - 6, top - 14, "end", y_label);
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char character : text) {
    switch (character) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += character;
    }
  }
  return out;
}

std::string svg_lines(const std::string& title, const std::string& y_label, double x_end, const std::vector<Line>& lines) {
  double highest = 0;
  for (const Line& line : lines) {
    for (const auto& [x, y] : line.points) highest = std::max(highest, y);
  }
  const double y_end = round_up(highest);
  std::string out = open_svg(width, height, title) + axes(x_end, y_end, y_label);
  for (size_t i = 0; i < lines.size(); ++i) {
    out += fmt::format("<polyline fill=\"none\" stroke-width=\"1.2\" stroke=\"{}\" points=\"", colours.at(i % colours.size()));
    for (const auto& [x, y] : lines[i].points) {
      out += fmt::format("{:.1f},{:.1f} ", left + (width - left - right) * x / x_end,
                         height - bottom - (height - top - bottom) * y / y_end);
    }
    out += "\"/>\n";
    if (lines.size() > 1 && i < colours.size()) {
      out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\" fill=\"{}\">{}</text>\n", width - right - 4,
                         top + 12 + 13 * static_cast<double>(i), colours.at(i), escaped(lines[i].name));
    }
  }
  return out + "</svg>\n";
}

std::string svg_bars(const std::string& title, const std::vector<std::pair<std::string, double>>& bars) {
  constexpr double bar_height = 20;
  double highest = 0;
  for (const auto& [name, value] : bars) highest = std::max(highest, value);
  std::string out = open_svg(width, top + bar_height * static_cast<double>(bars.size()) + 8, title);
  const double scale = (width - 2 * left - 130) / round_up(highest);
  for (size_t i = 0; i < bars.size(); ++i) {
    const double y = top + bar_height * static_cast<double>(i);
    out += text(left + 60, y + 13, "end", bars[i].first);
    out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", left + 66, y + 2,
                       scale * bars[i].second, bar_height - 5, colours.at(i % colours.size()));
    out += text(left + 70 + scale * bars[i].second, y + 13, "start", fmt::format("{:.4g}", bars[i].second));
  }
  return out + "</svg>\n";
}

std::string svg_heat_map(const std::string& title, const std::vector<std::string>& rows,
                         const std::vector<std::string>& columns, const std::vector<std::vector<double>>& values) {
  constexpr double cell_width = 70;
  constexpr double cell_height = 24;
  std::string out = open_svg(left + cell_width * static_cast<double>(columns.size()) + 8,
                             top + cell_height * static_cast<double>(rows.size() + 1) + 8, title);
  for (size_t row = 0; row < rows.size(); ++row) {
    const double y = top + cell_height * static_cast<double>(row);
    out += text(left - 6, y + 16, "end", rows[row]);
    for (size_t column = 0; column < columns.size(); ++column) {
      if (std::isnan(values[row][column])) continue;
      const double value = std::clamp(values[row][column], 0.0, 1.0);
      const double x = left + cell_width * static_cast<double>(column);
      out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"hsl({:.0f},60%,70%)\"/>\n",
                         x, y, cell_width - 2, cell_height - 2, 120 * value);
      out += text(x + cell_width / 2, y + 16, "middle", fmt::format("{:.3f}", value));
    }
  }
  for (size_t column = 0; column < columns.size(); ++column) {
    out += text(left + cell_width * (static_cast<double>(column) + 0.5),
                top + cell_height * static_cast<double>(rows.size()) + 16, "middle", columns[column]);
  }
  return out + "</svg>\n";
}

}  // namespace bench
