# package.cmake - what a system gets beside the programs, and the Debian package of it all:
#   cmake --preset release && cmake --build --preset release && (cd build-release && cpack)

# Manual pages are prose with a line @...@ where the program says its part.
set(folder ${CMAKE_BINARY_DIR}/packaging)
set(packed)
function(manual_page program marker)
  set(page ${CMAKE_SOURCE_DIR}/packaging/man/${program}.8)
  add_custom_command(OUTPUT ${folder}/${program}.8.gz DEPENDS ${page} ${program}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}
    COMMAND ${program} --man > ${folder}/${program}.part
    COMMAND sed -e "/^@${marker}@/{r ${folder}/${program}.part" -e d -e "}" ${page} > ${folder}/${program}.8
    COMMAND gzip -9nc ${folder}/${program}.8 > ${folder}/${program}.8.gz VERBATIM)
endfunction()
manual_page(meerkatd OPTIONS)
manual_page(meerkatctl COMMANDS)

# Pages and long text are packed, without a time, so that two builds are the same bytes.
add_custom_command(OUTPUT ${folder}/OPERATIONS.md.gz DEPENDS docs/OPERATIONS.md
  COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}
  COMMAND gzip -9nc ${CMAKE_SOURCE_DIR}/docs/OPERATIONS.md > ${folder}/OPERATIONS.md.gz VERBATIM)

# What shells complete, by the programs themselves.
foreach(program meerkatd meerkatctl)
  add_custom_command(OUTPUT ${folder}/${program}.bash ${folder}/${program}.zsh DEPENDS ${program}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}
    COMMAND ${program} --completion bash > ${folder}/${program}.bash
    COMMAND ${program} --completion zsh > ${folder}/${program}.zsh VERBATIM)
  install(FILES ${folder}/${program}.bash RENAME ${program}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${folder}/${program}.zsh RENAME _${program}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  list(APPEND packed ${folder}/${program}.bash ${folder}/${program}.8.gz)
endforeach()
add_custom_target(packed_pages ALL DEPENDS ${packed} ${folder}/OPERATIONS.md.gz)

file(GLOB units packaging/*.service packaging/*.socket)
install(FILES ${units} DESTINATION /lib/systemd/system)
install(FILES ${sample_conf} DESTINATION /etc/meerkat)
install(FILES packaging/logrotate DESTINATION /etc/logrotate.d RENAME meerkat)
install(FILES ${CMAKE_BINARY_DIR}/packaging/meerkatd.8.gz
  ${CMAKE_BINARY_DIR}/packaging/meerkatctl.8.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES ${CMAKE_BINARY_DIR}/packaging/OPERATIONS.md.gz docs/alerts.yml docs/grafana.json
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/meerkat)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME meerkat)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Meerkat maintainers <postmaster@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "server for transactional email")
set(CPACK_PACKAGE_DESCRIPTION "Programs send mail through an HTTP API or by SMTP;
it is signed, queued on disk and delivered. Mail that comes in goes to
mailboxes, webhooks and other addresses.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION mail)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/deb/postinst
  ${CMAKE_SOURCE_DIR}/packaging/deb/prerm ${CMAKE_SOURCE_DIR}/packaging/deb/postrm
  ${CMAKE_SOURCE_DIR}/packaging/deb/conffiles)
include(CPack)

if(MEERKAT_TESTS)
  add_test(NAME package COMMAND ${CMAKE_SOURCE_DIR}/packaging/check ${CMAKE_BINARY_DIR})
  set_tests_properties(package PROPERTIES TIMEOUT 600 RUN_SERIAL TRUE LABELS flow)
endif()
