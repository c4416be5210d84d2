// Plots as SVG text, to be put into a page.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace bench {

struct Line {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

/// Lines over a common axis from 0 to `x_end`.
std::string svg_lines(const std::string& title, const std::string& y_label, double x_end, const std::vector<Line>& lines);
/// One bar each, from 0.
std::string svg_bars(const std::string& title, const std::vector<std::pair<std::string, double>>& bars);
/// Values from 0 to 1 by colour and number; where one is not a number, the place stays empty.
std::string svg_heat_map(const std::string& title, const std::vector<std::string>& rows,
                         const std::vector<std::string>& columns, const std::vector<std::vector<double>>& values);

/// Text as HTML and SVG want it.
std::string escaped(const std::string& text);

}  // namespace bench
