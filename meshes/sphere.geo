// The unit sphere for gmsh: gmsh -2 -format msh2 sphere.geo -o sphere.msh
// Its triangles are not always acute: ufd counts the edges that break the maximum principle.
SetFactory("OpenCASCADE");
Sphere(1) = {0, 0, 0, 1};
Mesh.MeshSizeMax = 0.15;
Mesh.ElementOrder = 1;
Physical Surface("sphere") = {1};
