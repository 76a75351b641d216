// The unit circle for gmsh: gmsh -1 -format msh2 circle.geo -o circle.msh
SetFactory("OpenCASCADE");
Circle(1) = {0, 0, 0, 1, 0, 2*Pi};
Mesh.MeshSizeMax = 0.05;
Mesh.ElementOrder = 1;
Physical Curve("circle") = {1};
